"""`--batch-size auto`: the search, what it measures, and that results stay the recipe's."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from smallest import SMALLEST
from typer.testing import CliRunner

from david.cli import app
from david.pack.errors import DavidError
from david.pipeline.loader import Loader
from david.train import recipes, run
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override, to_json
from david.train.step import micro_batch

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=12", "steps=2", "optim.warmup=1", "parallel=ddp"),
    ],
)


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@given(limit=st.integers(0, 300), most=st.integers(1, 257))
def test_the_search_finds_the_largest_that_fits_in_few_trials(limit: int, most: int):
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    assert micro_batch.largest(fits, most) == min(limit, most)
    assert all(1 <= size <= most for size in asked) and len(asked) <= 2 * most.bit_length() + 1


@pytest.mark.parametrize(("room", "expected"), [(5, 4), (12, None), (100, None), (7, 6), (1, 1)])
def test_parts_are_even_and_fit(shards: Path, monkeypatch, room: int, expected: int | None):
    monkeypatch.setattr(micro_batch, "fits_cpu", lambda recipe, sample: lambda size: size <= room)
    assert micro_batch.fitted(TINY, shards, ALONE).micro_batch == expected


def test_memory_is_what_a_sample_needs_times_their_number(shards: Path, monkeypatch):
    """Half of the need more, and half less: the free memory decides, and more of it never fits less."""
    with Loader(shards, "train", TINY.data, batch_size=1, seed=0) as loader:
        sample = next(loader)
    found = []
    for mebibytes in (16, 32, 64, 128):
        monkeypatch.setattr(micro_batch, "free_bytes", lambda free=mebibytes: free * 2**20)
        found.append(micro_batch.largest(micro_batch.fits_cpu(TINY, sample), 4096))
    assert found == sorted(found) and found[-1] > 2 * found[-2] > 0
    monkeypatch.setattr(micro_batch, "free_bytes", lambda: 64 * 2**20)
    recomputed = micro_batch.largest(micro_batch.fits_cpu(override(TINY, ["recompute=true"]), sample), 4096)
    assert recomputed > found[2]


def test_free_memory_is_the_machines_or_the_containers(tmp_path: Path):
    with pytest.raises(DavidError, match="does not tell its free memory; give --set micro_batch=N"):
        micro_batch.free_bytes(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    4000 kB\n")
    assert micro_batch.free_bytes(tmp_path) == 4000 * 1024
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("1000000\n")
    for limit, free in (("max", 4000 * 1024), ("3000000", 2_000_000), ("99000000", 4000 * 1024)):
        (group / "memory.max").write_text(f"{limit}\n")
        assert micro_batch.free_bytes(tmp_path) == free


def test_a_model_that_does_not_fit_is_refused_with_the_way_out(shards: Path, monkeypatch):
    monkeypatch.setattr(micro_batch, "free_bytes", lambda: 2**20)
    with pytest.raises(DavidError, match="not even one sample of smoke fits .* --set recompute=true"):
        micro_batch.fitted(TINY, shards, ALONE)
    with pytest.raises(DavidError, match="parallel=exact computes one sample at a time"):
        micro_batch.fitted(override(TINY, ["parallel=exact"]), shards, ALONE)


def test_a_fitted_run_keeps_its_batches_its_losses_and_tells_what_was_found(
    shards: Path, tmp_path: Path, monkeypatch, capfd
):
    monkeypatch.setattr(micro_batch, "fits_cpu", lambda recipe, sample: lambda size: size <= 5)
    how = {"device": "cpu", "speaks": False}
    train(TINY, shards, tmp_path / "whole", **how)
    train(TINY, shards, tmp_path / "fitted", device="cpu", fit=True)
    assert "batches of 12 (4 at once) on 1 x cpu in fp32" in " ".join(capfd.readouterr().err.split())
    whole, fitted = (list(read(tmp_path / name / "journal.jsonl")) for name in ("whole", "fitted"))
    assert [line["loss"] for line in fitted] == pytest.approx([line["loss"] for line in whole], rel=1e-4)
    ledgers = [list(read(tmp_path / name / "ledger.jsonl")) for name in ("whole", "fitted")]
    assert ledgers[0] == ledgers[1]
    stored = run.stored(tmp_path / "fitted")
    assert stored and stored[0].micro_batch == 4 and stored[0].batch_size == 12


class BesideOneOfTwo(World):
    """A rank whose peer says 2 to whatever is asked."""

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        return torch.stack([values, torch.full_like(values, 2)])


def test_the_smallest_rank_decides(shards: Path, monkeypatch):
    monkeypatch.setattr(micro_batch, "fits_cpu", lambda recipe, sample: lambda size: size <= 4)
    assert micro_batch.fitted(TINY, shards, BesideOneOfTwo(0, 2, ALONE.device)).micro_batch == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_is_filled_and_not_overfilled(shards: Path):
    recipe = override(TINY, ["batch_size=18", "data.height=512", "data.width=384", "model.backbone_size=384"])
    world = World(0, 1, torch.device("cuda", 0))
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(0.01)
        found = micro_batch.fitted(recipe, shards, world).micro_batch
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found is None or 1 <= found < 18
    assert torch.cuda.max_memory_reserved() <= 0.011 * total


def test_the_command_line_fits_once_and_goes_on_with_what_it_found(shards: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(micro_batch, "fits_cpu", lambda recipe, sample: lambda size: size <= 5)
    own = tmp_path / "mine.py"
    own.write_text(f"from david.train.recipe import from_json\nrecipe = lambda: from_json({to_json(TINY)!r})\n")
    words = ["train", "--shards", str(shards), "--recipe", str(own), "--out", str(tmp_path / "run"), "--device", "cpu"]
    for more in (["--steps", "1"], []):
        done = CliRunner().invoke(app, [*words, "--batch-size", "auto", *more])
        assert done.exit_code == 0, done.output
        monkeypatch.setattr(micro_batch, "fits_cpu", None)  # nobody asks again
    stored = run.stored(tmp_path / "run")
    assert stored and (stored[0].micro_batch, stored[0].batch_size) == (4, 12)
    assert len(list(read(tmp_path / "run" / "journal.jsonl"))) == 2
    refused = CliRunner().invoke(app, [*words, "--batch-size", "many"])
    assert "expected a whole number, found 'many'" in str(refused.exception)
