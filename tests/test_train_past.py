"""Any past step can be made again, and a ledger proves what a run was trained on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from david.cli import app
from david.pack import DavidError
from david.pack.files import write_whole
from david.pack.shards import manifest
from david.pipeline import reference
from david.pipeline.config import DataConfig
from david.pipeline.reading import sets
from david.train import ledger, recipes
from david.train import recipe as trees
from david.train.record import past
from david.train.record.walk import walks_of

BATCH = 4


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture
def run(shards: Path, tmp_path: Path) -> Path:
    """What a run of 11 steps leaves: its recipe and its ledger."""
    recipe = replace(recipes.recipe("smoke"), batch_size=BATCH)
    content = {"david": "0", "shards": manifest.load(shards).fingerprint, "recipe": trees.to_json(recipe)}
    (tmp_path / "run").mkdir()
    write_whole(tmp_path / "run" / "recipe.json", json.dumps(content).encode())
    counts = [shard.samples for shard in manifest.load(shards).split("train")]
    order = recipe.data.order([counts], BATCH, recipe.seed)
    lines = [json.dumps(ledger.entry(step, *order.batch(step - 1))) for step in range(1, 12)]
    write_whole(tmp_path / "run" / "ledger.jsonl", "".join(line + "\n" for line in lines).encode())
    return tmp_path / "run"


def test_a_replayed_step_is_the_batch_that_was_trained_on(run: Path, shards: Path, tmp_path: Path) -> None:
    made = past.replay(run, shards, 7, tmp_path / "out")
    assert made.recorded and made.picture.stat().st_size > 1000
    tensors = load_file(made.tensors)
    recipe = recipes.recipe("smoke")
    twin = reference.batch(shards, "train", recipe.data, batch_size=BATCH, seed=recipe.seed, step=6)
    assert torch.equal(tensors["ids"], twin.ids)
    assert torch.equal(tensors["targets.normals.value"], twin.targets["normals"].value)
    assert (tensors["image"].int() - twin.image.int()).abs().max() <= 2
    assert not past.replay(run, shards, 900, tmp_path / "out").recorded


def test_a_whole_ledger_proves_each_sample_once_an_epoch(run: Path, shards: Path) -> None:
    found = past.verify(run, shards)
    samples = manifest.load(shards).samples("train")
    per_epoch = samples // BATCH
    (walk,) = found.walks
    assert (found.steps, walk.samples, walk.covered) == (11, samples, per_epoch * BATCH)
    assert (walk.epochs, walk.begun) == (11 // per_epoch, 11 % per_epoch * BATCH)


@pytest.mark.parametrize("how", ["lost", "repeated", "others", "swapped"])
def test_a_ledger_that_lost_or_repeated_a_step_is_refused(run: Path, shards: Path, how: str) -> None:
    path = run / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    changed = {
        "lost": lines[:4] + lines[5:],
        "repeated": lines[:5] + lines[4:],
        "others": [*lines[:4], lines[4].replace('"sha256": "', '"sha256": "0'), *lines[5:]],
        "swapped": [*lines[:4], lines[5], lines[4], *lines[6:]],
    }[how]
    path.write_text("".join(changed))
    with pytest.raises(DavidError, match=r"ledger\.jsonl: line [56] says .*'step': [456].* give"):
        past.verify(run, shards)


def test_other_shards_and_folders_without_a_run_are_refused(run: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="no run there"):
        past.verify(tmp_path / "nothing", shards)
    content = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(content | {"shards": "0" * 64}))
    with pytest.raises(DavidError, match="0000000000000000, this one is"):
        past.replay(run, shards, 1, tmp_path)


def test_a_run_knows_its_shards_and_says_so_where_it_does_not(run: Path, shards: Path, tmp_path: Path) -> None:
    def said(*words: object) -> str:
        done = CliRunner().invoke(app, [*map(str, words)])
        return done.output + str(done.exception or "")

    assert "begun by a version that did not note where its shards are; name them with --shards" in said(
        "verify-run", run
    )
    assert "11 steps as the order has them" in said("verify-run", run, "--shards", shards)
    moved = tmp_path / "moved"
    moved.symlink_to(shards)
    content = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps(content | {"places": sets.places([moved])}))
    assert "11 steps as the order has them" in said("verify-run", run)
    assert "step 7, epoch" in said("replay", run, "--step", 7)
    moved.unlink()
    lost = said("verify-run", run)
    assert f"{run}: its shards were there, name them with --shards where they are now: {moved}: no shards" in lost
    assert "11 steps as the order has them" in said("verify-run", run, "--shards", shards)
    assert "no run there" in said("verify-run", tmp_path)


@pytest.mark.parametrize("weights", [(), (2, 1)])
def test_a_mixtures_ledger_proves_each_set_and_its_steps_come_again(
    tiny: Callable[[Path, list[int]], Path], tmp_path: Path, weights: tuple[int, ...]
) -> None:
    both = [tiny(tmp_path / "one", [5, 4]), tiny(tmp_path / "two", [3, 3, 2])]
    smoke = recipes.recipe("smoke")
    recipe = replace(smoke, batch_size=BATCH, data=replace(smoke.data, height=16, width=12, weights=weights))
    folder = tmp_path / "run"
    folder.mkdir()
    content = {"david": "0", "shards": sets.load(both).fingerprint, "recipe": trees.to_json(recipe)}
    write_whole(folder / "recipe.json", json.dumps(content).encode())
    order = recipe.data.order(sets.load(both).counts("train"), BATCH, recipe.seed)
    lines = [json.dumps(ledger.entry(step, *order.batch(step - 1))) for step in range(1, 12)]
    write_whole(folder / "ledger.jsonl", "".join(line + "\n" for line in lines).encode())
    walks = [(walk.samples, walk.covered, walk.epochs, walk.begun) for walk in past.verify(folder, both).walks]
    # 44 samples: of 16 in each epoch of 17, or of 2:1 with the first set's turn first
    assert walks == ([(9, 9, 3, 3), (8, 8, 1, 6)] if weights else [(17, 16, 2, 12)])
    assert past.replay(folder, both, 11, tmp_path / "out").recorded
    with pytest.raises(DavidError, match="was trained on the shard set"):
        past.verify(folder, both[::-1])


def test_a_sample_seen_twice_or_in_another_epoch_is_found() -> None:
    order = DataConfig(weights=(1, 1)).order([[4], [4]], 4, 0)
    for damage in ("twice", "epoch", "none"):
        walks = walks_of(order)
        batches = [order.batch(step) for step in range(4)]
        if damage == "twice":
            batches[1].ids[0] = batches[0].ids[0]
        if damage == "epoch":
            batches[1].epochs[0] = 1
        assert all(walk.take(places) for places in batches for walk in walks) == (damage == "none")
