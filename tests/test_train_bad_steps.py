"""Steps that are not finite: the same skip on every rank, no weight changed, a bundle that shows it again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batches import retarget
from safetensors.torch import load_file
from smallest import SMALLEST
from typer.testing import CliRunner

from david.cli import app
from david.model import build
from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import distributed, loop, recipes, shelf
from david.train.distributed import World
from david.train.journal import read
from david.train.recipe import Recipe, override
from david.train.record import bundle
from david.train.step.step import Step
from david.train.tasks import supervised
from david.train.tasks.supervised import compare

pytestmark = pytest.mark.usefixtures("warm")
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=6", "optim.warmup=3", "checkpoint_every=1", "keep=9"),
        *("log_every=3", "evaluate_every=0"),
    ],
)
both = pytest.mark.parametrize("how", ["exact", "ddp"])


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


class Poisoned(Loader):
    """A loader whose last rank gets, at some steps, a sample whose depth is inf on some pixels."""

    steps: tuple[int, ...] = ()

    def __init__(self, *args, rank: int = 0, world_size: int = 1, train: bool = True, **how):
        super().__init__(*args, rank=rank, world_size=world_size, train=train, **how)
        self.hits = self.steps if train and rank == world_size - 1 else ()

    def __next__(self) -> Batch:
        batch = super().__next__()
        if self.state not in self.hits:
            return batch
        depth, valid = batch.targets["depth"].value.clone(), batch.targets["depth"].valid.clone()
        depth[1, :, :4], valid[1, :, :4] = torch.inf, True
        return retarget(batch, "depth", depth, valid)


def poisoned(recipe: Recipe, shards: Path, out: Path, steps: tuple[int, ...] = (3,)) -> loop.Finished:
    Poisoned.steps = steps
    loop.Loader = Poisoned
    try:
        return loop.train(recipe, shards, out, device="cpu", speaks=False)
    finally:
        loop.Loader = Loader


def weights(out: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(shelf.path_of(out / "checkpoints", step) / shelf.MODEL)


def unchanged(out: Path, before: int, after: int) -> bool:
    """Whether weights and moments are the same, to the bit."""
    files = (shelf.path_of(out / "checkpoints", step) / shelf.OPTIMISER for step in (before, after))
    one, other = (load_file(path) for path in files)
    return all(weights(out, before)[name].equal(value) for name, value in weights(out, after).items()) and all(
        one[name].equal(value) for name, value in other.items() if not name.startswith("step/")
    )


@both
def test_inf_in_one_ranks_loss_is_skipped_by_all_and_the_bundle_shows_it_again(shards: Path, tmp_path: Path, how: str):
    out, recipe = tmp_path / "run", override(TINY, [f"parallel={how}"])
    distributed.launch(2, poisoned, recipe=recipe, shards=shards, out=out)
    skipped = [record["step"] for record in read(out / "journal.jsonl") if record["loss"] is None]
    assert skipped == [3] and len(list(read(out / "journal.jsonl"))) == 6
    assert unchanged(out, 2, 3) and not unchanged(out, 3, 4)

    folder = out / "bad" / "step-00000003"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("bundle.json", "model.safetensors", "rank-0.safetensors", "rank-1.safetensors"),
    ]
    kept = load_file(folder / "model.safetensors")
    assert all(kept[name].equal(value) for name, value in weights(out, 2).items())
    number, (clean, bad) = bundle.replay(folder, torch.device("cpu"))
    ids = load_file(folder / "rank-1.safetensors")["ids"].tolist()
    assert number == 3 and clean.same and bad.same
    assert clean.finite and not clean.culprits
    assert not bad.finite and list(bad.culprits) == [ids[1]] and "depth_ssi_mse" in bad.culprits[ids[1]]

    said = CliRunner().invoke(app, ["replay", "--bundle", str(folder), "--device", "cpu"])
    assert said.exit_code == 0 and f"rank 1, sample {ids[1]}: depth_ssi_mse" in said.stdout
    assert "the same losses, to the bit" in said.stdout


def test_a_run_that_stays_bad_ends_with_a_sentence_and_keeps_a_few_bundles(shards: Path, tmp_path: Path):
    out, recipe = tmp_path / "run", override(TINY, ["steps=12", "max_skipped=4", "checkpoint_every=0"])
    told = "step 6: the gradient was not finite in 5 steps in a row, as depth_ssi_mse.* were not"
    with pytest.raises(DavidError, match=told):
        poisoned(recipe, shards, out, steps=(2, 3, 4, 5, 6))
    assert [path.name for path in sorted((out / "bad").iterdir())] == [f"step-0000000{step}" for step in (2, 3, 4)]


def test_a_run_whose_every_step_is_bad_ends_with_a_sentence_however_short(shards: Path, tmp_path: Path):
    recipe = override(TINY, ["steps=2", "max_skipped=10", "checkpoint_every=0"])
    with pytest.raises(DavidError, match="step 2: the gradient was not finite in 2 steps in a row"):
        poisoned(recipe, shards, tmp_path / "run", steps=(1, 2))
    poisoned(recipe, shards, tmp_path / "other", steps=(1,))


@both
def test_an_infinite_loss_reaches_every_rank_though_its_own_gradient_is_finite(shards: Path, how: str, monkeypatch):
    def with_a_constant(*args) -> torch.Tensor:
        losses = compare(*args)
        return torch.cat([losses[:-1], torch.full_like(losses[-1:], torch.inf)])

    recipe = override(TINY, [f"parallel={how}"])
    with Loader(shards, "train", recipe.data, batch_size=4, seed=0) as loader:
        batch = next(loader)
    step = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu")))
    assert step(batch, 1).norm.isfinite()
    monkeypatch.setattr(supervised, "compare", with_a_constant)
    assert not step(batch, 2).norm.isfinite()


def test_a_loss_scale_that_is_still_sought_leaves_no_bundle(shards: Path, tmp_path: Path):
    """float16 overflows until its scale has come down: that is no fault of the batch; a loss that is not finite is."""
    recipe, told = override(TINY, ["precision=fp16", "parallel=ddp"]), []
    with Loader(shards, "train", recipe.data, batch_size=4, seed=0) as loader:
        batch = next(loader)
    world = World(0, 1, torch.device("cpu"))
    step = Step(build(recipe.model), recipe, world)
    watch = bundle.Watch(tmp_path / "bad", step, world, told.append)
    outcome = replace(step(batch, 1), norm=torch.tensor(torch.inf))
    watch.hold(outcome, batch)
    watch.look()
    assert not told and not (tmp_path / "bad").exists()
    watch.hold(replace(outcome, losses=outcome.losses * torch.inf), batch)
    watch.look()
    assert len(told) == 1 and (tmp_path / "bad" / "step-00000001" / bundle.BUNDLE).exists()


def test_what_is_no_bundle_is_refused(tmp_path: Path):
    with pytest.raises(DavidError, match="not a whole bundle of a step"):
        bundle.replay(tmp_path, torch.device("cpu"))
