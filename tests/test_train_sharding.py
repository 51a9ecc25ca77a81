"""Weights shared out over ranks: the same run as with whole ones, and checkpoints that know nothing of it."""

from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from smallest import SMALLEST
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from david.model import build
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import checkpoint, distributed, recipes, run, shelf
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import Recipe, override
from david.train.step.precision import computing_in
from david.train.step.step import Step

pytestmark = pytest.mark.usefixtures("warm")
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=6", "optim.warmup=3", "optim.rate=1e-3", "keep=9"),
        *("optim.ema=0.9", "objective.uncertainty=true", "parallel=fsdp"),
    ],
)
HOW = {"device": "cpu", "speaks": False}


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def journal(out: Path, name: str) -> list[float]:
    return [line[name] for line in read(out / "journal.jsonl")]


@pytest.fixture(scope="module")
def shared_out(warm: None, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks for four steps, one for the rest."""
    out = tmp_path_factory.mktemp("shared") / "run"
    distributed.launch(2, train, recipe=TINY, shards=shards, out=out, stop=4, **HOW)
    train(TINY, shards, out, **HOW)
    return out


def test_shared_out_weights_train_as_whole_ones(shards: Path, shared_out: Path, tmp_path: Path):
    train(override(TINY, ["parallel=ddp"]), shards, tmp_path / "ddp", **HOW)
    for name in ("loss", "norm"):
        ours, theirs = journal(shared_out, name), journal(tmp_path / "ddp", name)
        assert ours == pytest.approx(theirs, rel=1e-4)
    ours, theirs = (next(iter(read(r / "metrics.jsonl"))) for r in (shared_out, tmp_path / "ddp"))
    assert ours["samples"] == theirs["samples"]


def test_a_checkpoint_of_shared_out_weights_is_whole(shards: Path, shared_out: Path):
    path, plain = shelf.path_of(shared_out / "checkpoints", 4), build(TINY.model)
    assert shelf.damage(path) is None
    for name in ("model", "average"):
        plain.load_state_dict(load_file(path / f"{name}.safetensors"))
    moments = load_file(path / shelf.OPTIMISER)
    for name, parameter in plain.named_parameters():
        assert moments[f"exp_avg/{name}"].shape == parameter.shape and moments[f"exp_avg/{name}"].any(), name
    assert len(load_file(path / "task.safetensors")["log_variances"]) == 3
    assert journal(shared_out, "step") == [1, 2, 3, 4, 5, 6]  # the single rank went on


def check_rank(shards: Path, out: Path, recipe: Recipe) -> tuple[tuple[int, float], list["Sums"]]:
    """In each rank: that it holds a part, that it can judge alone, and that a restored checkpoint is the stored one;
    then how gradients are summed in half precision, the share of the batch at once and in two parts."""
    with distributed.joined("cpu") as world, Loader(shards, "train", recipe.data, batch_size=4, seed=0) as loader:
        batch = next(loader)
        share = batch.slice(2 * world.rank, 2 * world.rank + 2)
        network, path = build(recipe.model), shelf.path_of(out / "checkpoints", 4)
        step = Step(network, recipe, world)
        _, extra = checkpoint.restore(path, network, step.optimiser, step.named)
        step.restore(extra)
        stored = load_file(path / shelf.MODEL)
        held = 0
        for name, parameter in network.named_parameters():
            assert isinstance(parameter, DTensor)
            held += parameter.to_local().numel()
            assert torch.equal(parameter.full_tensor(), stored[name]), name
        whole = build(recipe.model)
        whole.load_state_dict(load_file(path / "average.safetensors"))
        with step.evaluating(), torch.inference_mode():
            if world.leads:  # alone
                assert torch.allclose(network(batch.image)["normals"], whole(batch.image)["normals"], atol=1e-5)
        first = step(share, 5)
        halves = [override(recipe, [f"micro_batch={size}", "precision=bf16"]) for size in (2, 1)]
        return (held, first.norm.item()), [sums_of_a_step(half, share, world) for half in halves]


Sums = tuple[int, dict[str, torch.dtype], float]


def sums_of_a_step(recipe: Recipe, share: Batch, world: World) -> Sums:
    """How often gradients are summed over ranks, what weights are gathered in, and the gradient's norm."""
    torch.manual_seed(0)
    network = build(recipe.model)
    step, found = Step(network, recipe, world), {}
    for name in WATCHED:
        network.get_submodule(name).register_forward_pre_hook(
            lambda module, _, name=name: found.update({name: module.weight.dtype})
        )
    with Counting() as counting:
        outcome = step(share, 1)
    return counting.sums, found, outcome.norm.item()


class Counting(TorchDispatchMode):
    """Of the collective that sums over ranks and leaves each rank its part."""

    sums = 0

    def __torch_dispatch__(self, operator, types, args=(), named=None):
        self.sums += "reduce_scatter" in str(operator)
        return operator(*args, **(named or {}))


BLOCK = "backbone.vit.blocks.1"
WATCHED = {
    **{f"{BLOCK}.{name}": torch.bfloat16 for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")},
    **{f"{BLOCK}.{name}": torch.float32 for name in ("norm1", "norm2")},
    **{"backbone.vit.patch_embed.proj": torch.float32, "heads.depth.last": torch.float32},
}


@pytest.fixture(scope="module")
def said(warm: None, shards: Path, shared_out: Path) -> tuple[tuple[int, float], list[Sums]]:
    """What `check_rank` found, in one start of two ranks."""
    return distributed.launch(2, check_rank, shards=shards, out=shared_out, recipe=TINY)


def test_a_rank_holds_its_part_and_judges_alone_and_goes_on(said: tuple[tuple[int, float], list[Sums]]):
    held, norm = said[0]
    assert held < 0.6 * sum(p.numel() for p in build(TINY.model).parameters())
    assert norm > 0


def test_blocks_are_gathered_in_half_and_gradients_are_summed_once(shards: Path, said: tuple[object, list[Sums]]):
    (at_once, found, norm), (in_parts, _, norm_in_parts) = said[1]
    assert in_parts == at_once > 0
    assert found == WATCHED
    with Loader(shards, "train", TINY.data, batch_size=4, seed=0) as loader:
        torch.manual_seed(0)
        plain = override(TINY, ["parallel=ddp", "precision=bf16"])
        alone = Step(build(TINY.model), plain, World(0, 1, torch.device("cpu")))(next(loader), 1).norm.item()
    assert [norm, norm_in_parts] == pytest.approx([alone, alone], rel=0.01)


def compiled_and_plain(shards: Path, recipe: Recipe) -> list[tuple[list[float], int, int]]:
    """In each rank, as it is and compiled: norms of two steps with an evaluation between, the graphs that were made,
    and of these in the evaluation."""
    found = []
    with distributed.joined("cpu") as world, Loader(shards, "train", recipe.data, batch_size=4, seed=0) as loader:
        batch = next(loader)
        share = batch.slice(2 * world.rank, 2 * world.rank + 2)
        for mode in ("off", "default"):
            made = []

            def compiler(graph, inputs, made: list = made):
                made.append(graph)
                return graph

            with mock.patch.object(torch, "compile", partial(torch.compile, backend=compiler)):
                torch.manual_seed(0)
                step = Step(build(recipe.model), override(recipe, [f"compile={mode}"]), world)
                norms = [step(share, 1).norm.item()]
                before = len(made)
                with step.evaluating(), torch.inference_mode(), computing_in(step.reduced, world.device):
                    step.network(batch.image)
                evaluated = len(made) - before
                norms.append(step(share, 2).norm.item())
            found.append((norms, len(made), evaluated))
    return found


def test_compiled_by_parts_it_trains_as_it_is(shards: Path):
    recipe = override(TINY, ["precision=fp32", "objective.uncertainty=false"])
    (plain, none, _), (ours, graphs, evaluated) = distributed.launch(
        2, compiled_and_plain, shards=shards, recipe=recipe
    )
    assert ours == pytest.approx(plain, rel=1e-4)
    assert none == 0 < graphs and evaluated == 0


def test_how_weights_are_shared_out_is_what_a_run_keeps():
    assert "parallel" not in run.FREE
