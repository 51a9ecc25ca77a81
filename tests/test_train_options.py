"""What a recipe may ask of a step beside the plain one: each option changes what it says, and resumes to the bit."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from functorch.compile import make_boxed_compiler
from safetensors.torch import load_file, save_file
from smallest import SMALLEST
from torch._dynamo.backends.common import aot_autograd

from david.model import Network, build
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import checkpoint, distributed, recipes, shelf
from david.train.config import ObjectiveConfig
from david.train.distributed import World
from david.train.journal import read
from david.train.loop import train
from david.train.losses.table import TERMS
from david.train.recipe import Recipe, override
from david.train.step import scaling
from david.train.step.compiled import Compiled, Compiler
from david.train.step.gradients import Learner
from david.train.step.step import Step
from david.train.tasks.supervised import Supervised

pytestmark = pytest.mark.usefixtures("warm")
ALONE = World(0, 1, torch.device("cpu"))
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=6", "optim.warmup=3", "optim.rate=1e-3"),
    ],
)
DDP = override(TINY, ["parallel=ddp"])
EVERYTHING = ["precision=fp16", "optim.ema=0.9", "objective.uncertainty=true", "recompute=true"]


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture(scope="module")
def batch(shards: Path) -> Batch:
    with Loader(shards, "train", TINY.data, batch_size=4, seed=0) as loader:
        return next(loader)


def made(recipe: Recipe, **how) -> tuple[Network, Step]:
    torch.manual_seed(0)
    network = build(recipe.model).to(memory_format=torch.channels_last)
    return network, Step(network, recipe, ALONE, **how)


def weights(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()]).clone()


def gradient(recipe: Recipe, batch: Batch) -> torch.Tensor:
    network, step = made(recipe)
    step.gradients(batch, batch.real.sum(), torch.ones(()))
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("recipe", [TINY, DDP], ids=["exact", "ddp"])
def test_recomputing_gives_the_same_gradient_to_the_bit(recipe: Recipe, batch: Batch):
    assert torch.equal(gradient(override(recipe, ["recompute=true"]), batch), gradient(recipe, batch))
    network, _ = made(override(recipe, ["recompute=true"]))
    blocks = list(network.backbone.vit.blocks)
    calls = []
    for block in blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    network(batch.image)["relative_depth"].sum().backward()
    assert len(calls) == 2 * len(blocks)


def test_accumulated_parts_equal_the_whole_batch(shards: Path):
    """4 x 8 equals 32, in float32, but for rounding."""
    data = replace(TINY.data, last_batch="pad")
    with Loader(shards, "train", data, batch_size=8, seed=0) as loader:
        parts = [next(loader) for _ in range(4)]
    stacked = Batch.of({name: torch.cat([part.tensors()[name] for part in parts]) for name in parts[0].tensors()})
    whole = gradient(override(DDP, ["batch_size=32"]), stacked)
    in_parts = gradient(override(DDP, ["batch_size=32", "micro_batch=8"]), stacked)
    assert (whole - in_parts).norm() < 5e-6 * whole.norm()


def test_a_frozen_backbone_stays_as_it_is(batch: Batch):
    network, step = made(override(DDP, ["optim.frozen_backbone=true"]))
    before = {name: p.clone() for name, p in network.named_parameters()}
    step(batch, 3)
    for name, p in network.named_parameters():
        assert torch.equal(p, before[name]) == name.startswith("backbone."), name
    held = {p for group in step.optimiser.param_groups for p in group["params"]}
    assert held.isdisjoint(network.backbone.parameters()) and all(p.grad is None for p in network.backbone.parameters())
    network.train()
    assert not network.backbone.training and not network.backbone.vit.blocks[0].training and network.decoder.training


@pytest.mark.parametrize("warm_up", [True, False])
def test_the_average_follows_its_formula_and_lends_itself_to_the_network(batch: Batch, warm_up: bool):
    network, step = made(override(DDP, ["optim.ema=0.5", f"optim.ema_warmup={warm_up}"]))
    expected = weights(network).double()
    for number in range(1, 6):
        step(batch, number)
        decay = min(0.5, (1 + number) / (10 + number)) if warm_up else 0.5
        expected = decay * expected + (1 - decay) * weights(network)
    own = weights(network)
    with step.evaluating():
        assert torch.allclose(weights(network).double(), expected, atol=1e-6)
        assert not torch.equal(weights(network), own)
    assert torch.equal(weights(network), own)
    with made(DDP)[1].evaluating():  # without an average: the weights themselves
        pass


def test_a_loss_scale_halves_on_overflow_changes_no_weight_and_grows_again(batch: Batch, monkeypatch):
    monkeypatch.setattr(scaling, "GROW_AFTER", 2)
    network, step = made(override(DDP, ["precision=fp16"]))
    assert step.scaling is not None
    step.scaling.scale.fill_(2.0**30)
    before = weights(network)
    assert not step(batch, 1).norm.isfinite()
    assert step.scaling.scale == 2.0**29 and torch.equal(weights(network), before)
    step.scaling.scale.fill_(2.0**8)
    assert step(batch, 2).norm.isfinite() and step.scaling.scale == 2.0**8
    step(batch, 3)
    assert step.scaling.scale == 2.0**9 and step.scaling.good == 0


def test_half_precision_changes_the_rounding_and_not_the_gradient(batch: Batch):
    network, step = made(override(DDP, ["precision=fp16"]))
    outcome, plain = step(batch, 1), made(DDP)[1](batch, 1)
    assert outcome.norm.item() == pytest.approx(plain.norm.item(), rel=0.02) and outcome.norm != plain.norm
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_learnt_weights_of_tasks_follow_kendall(batch: Batch):
    given = {"depth_berhu": 2.0, "normals_cosine": 1.0, "alpha_l1": 3.0, "alpha_dice": 1.0}
    config = ObjectiveConfig(uncertainty=True, **{**dict.fromkeys(TERMS, 0.0), **given})
    task = Supervised(config, TINY.model)
    assert task.terms == tuple(given) and task.log_variances is not None
    with torch.no_grad():
        task.log_variances.copy_(torch.tensor([0.5, -1.0, 0.0]))
    losses = torch.tensor([0.3, 0.7, 0.2, 0.4])
    heads = [0.3 * 2, 0.7, 0.2 * 3 + 0.4]
    for present in ((1.0, 1.0, 1.0), (0.25, 0.0, 1.0)):  # shares of images that have the head's target
        rows = zip((0.5, -1.0, 0.0), heads, present, strict=True)
        expected = sum(math.exp(-s) * loss + s * share for s, loss, share in rows)
        shares = torch.tensor([present[0], present[1], present[2], present[2]])
        assert task.total(losses, shares).item() == pytest.approx(expected)


@pytest.mark.parametrize("how", [[], ["micro_batch=1"]])
def test_learnt_weights_of_tasks_are_the_same_in_both_summations(batch: Batch, how: list[str]):
    learnt = []
    for recipe in (TINY, override(DDP, how)):
        _, step = made(override(recipe, ["objective.uncertainty=true"]))
        for number in range(1, 4):
            step(batch, number)
        log_variances = step.named["task.log_variances"]
        assert log_variances.abs().min() > 1e-4
        (group,) = (group for group in step.optimiser.param_groups if any(p is log_variances for p in group["params"]))
        assert (group["weight_decay"], group["full_rate"]) == (0.0, recipe.optim.rate)
        learnt.append(log_variances.detach())
    assert torch.allclose(learnt[0], learnt[1], rtol=1e-3)


def test_learnt_weights_that_had_an_optimiser_of_their_own_go_on(batch: Batch, tmp_path: Path):
    """As checkpoints were saved before: `balance` with the weights and their moments, and no word of them elsewhere."""
    recipe = override(DDP, ["objective.uncertainty=true"])
    network, step = made(recipe)
    for number in (1, 2):
        step(batch, number)
    how = {"extra": step.state(), "named": step.named}
    path = checkpoint.save(tmp_path, 2, network, step.optimiser, {"step": 2}, keep=1, **how)
    optimiser, task = load_file(path / shelf.OPTIMISER), load_file(path / "task.safetensors")
    moments = {key: optimiser.pop(f"{key}/task.log_variances") for key in ("step", "exp_avg", "exp_avg_sq")}
    save_file(optimiser, path / shelf.OPTIMISER)
    save_file(task | moments, path / "balance.safetensors")
    (path / "task.safetensors").unlink()
    other, other_step = made(recipe)
    other_step.restore(checkpoint.restore(path, other, other_step.optimiser, other_step.named)[1])
    for number in (3, 4):
        step(batch, number)
        other_step(batch, number)
    assert torch.equal(weights(network), weights(other))
    assert torch.equal(step.named["task.log_variances"], other_step.named["task.log_variances"])


def broken(graph, inputs):
    raise RuntimeError("no C++ compiler here\nand a long story")


@pytest.mark.parametrize(
    "backend",
    [broken, aot_autograd(fw_compiler=make_boxed_compiler(lambda graph, inputs: graph), bw_compiler=broken)],
    ids=["forward", "backward"],
)
def test_a_compile_that_fails_is_told_once_and_the_network_runs_as_it_is(batch: Batch, monkeypatch, backend):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    said: list[str] = []
    network, step = made(override(DDP, ["compile=true"]), tell=said.append)
    for number in (1, 2):
        step(batch, number)
    assert len(said) == 1 and said[0].startswith("torch.compile failed") and "no C++ compiler here" in said[0]
    assert "\n" not in said[0]
    plain, plain_step = made(DDP)
    for number in (1, 2):
        plain_step(batch, number)
    assert torch.equal(weights(network), weights(plain))


def test_losses_that_do_not_compile_are_told_and_run_beside_a_network_that_does(batch: Batch, monkeypatch):
    def some(graph, inputs):
        if any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in inputs):  # where targets are valid
            raise RuntimeError("no such loss")
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=some))
    said: list[str] = []
    network, step = made(override(DDP, ["compile=default"]), tell=said.append)
    plain, plain_step = made(DDP)
    for number in (1, 2):
        step(batch, number)
        plain_step(batch, number)
    assert said[0] == "torch.compile failed, so the losses run uncompiled (RuntimeError: no such loss)"
    assert "network" not in str(said)
    # compiled, a resize goes back by slices: AdamW takes the sign of a gradient near 0, of single weights
    assert (weights(network) - weights(plain)).abs().mean() < 1e-7
    assert step.gradients.learner.answer.graph and not step.task.judge.graph


@pytest.mark.parametrize(("said", "mode"), [("true", None), ("default", None), ("max-autotune", "max-autotune")])
def test_a_recipe_chooses_the_mode_of_the_compiler(monkeypatch, said: str, mode: str | None):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, dynamic, mode: asked.append(mode) or function)
    made(override(DDP, [f"compile={said}"]))
    assert asked == [mode] * 3


def test_cuda_graphs_for_many_images_are_advised_against():
    told: list[str] = []
    for mode, images, kind in (
        ("reduce-overhead", 12, "cuda"),
        ("default", 96, "cuda"),
        ("reduce-overhead", 96, "cpu"),
    ):
        Compiler(mode, told.append).advise(images, torch.device(kind))
    assert not told
    Compiler("reduce-overhead", told.append).advise(13, torch.device("cuda"))
    assert len(told) == 1 and "here are 13: compile=default is as fast" in told[0]


def test_a_whole_run_under_a_failing_compiler_ends_with_one_note(shards: Path, tmp_path: Path, monkeypatch, capfd):
    """It draws before its first step, and measures and draws on its way; all but the note is as without a compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    recipe = override(DDP, ["compile=true", "picture_every=2", "evaluate_every=2", "steps=4"])
    train(recipe, shards, tmp_path / "compiled", device="cpu")
    assert capfd.readouterr().err.count("torch.compile failed") == 1
    train(override(recipe, ["compile=false"]), shards, tmp_path / "plain", device="cpu", speaks=False)
    for name in ("journal", "metrics"):
        one, other = (list(read(tmp_path / run / f"{name}.jsonl")) for run in ("compiled", "plain"))
        assert len(one) == {"journal": 4, "metrics": 2}[name]
        for line, same in zip(one, other, strict=True):
            assert {k: v for k, v in line.items() if k not in UNTOLD} == {
                k: v for k, v in same.items() if k not in UNTOLD
            }


UNTOLD = ("samples_per_s", "wait", "memory_gb")  # of a journal's line: what is not the same each time


def test_pictures_and_evaluations_leave_trainings_graph_alone(shards: Path, tmp_path: Path, monkeypatch):
    """One graph for each size of a micro-batch, with sizes as numbers, whatever else looks at the network."""
    seen: list[int] = []

    def compiler(graph, inputs):
        tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
        assert all(type(size) is int for x in tensors for size in x.shape)
        images = [len(x) for x in tensors if x.dtype == torch.uint8 and x.shape[1] == 3]
        seen.append(images[0] if images else 0)
        return graph

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=compiler))
    said: list[str] = []
    recipe = override(DDP, ["compile=true", "picture_every=2", "evaluate_every=2", "steps=4", "micro_batch=3"])
    monkeypatch.setattr(Learner, "predict", counted(Learner.predict, said))
    train(recipe, shards, tmp_path, device="cpu", speaks=False)
    # of each size the network, its losses, and their sums
    assert seen == [3, 0, 0, 1, 0, 0] and said == ["compiled"] * 8


def counted(predict, said: list[str]):
    def call(learner: Learner, image: torch.Tensor):
        prediction = predict(learner, image)
        said.append("compiled" if isinstance(learner.answer, Compiled) and learner.answer.graph else "as it is")
        return prediction

    return call


def test_a_run_with_everything_on_resumes_to_the_bit_on_any_number_of_ranks(shards: Path, tmp_path: Path):
    recipe, how = override(TINY, EVERYTHING), {"device": "cpu", "speaks": False}
    train(recipe, shards, tmp_path / "through", **how)
    train(recipe, shards, tmp_path / "broken", stop=2, **how)
    distributed.launch(2, train, recipe=recipe, shards=shards, out=tmp_path / "broken", **how)
    one, other = (tmp_path / name for name in ("through", "broken"))
    assert [line["loss"] for line in read(one / "journal.jsonl")] == [
        line["loss"] for line in read(other / "journal.jsonl")
    ]
    records = list(read(one / "journal.jsonl"))
    assert all(2.0**8 <= record["loss_scale"] <= 2.0**16 for record in records)
    for head in ("depth", "normals", "alpha"):
        assert len({record[f"log_variance_{head}"] for record in records}) > 3
    for name in ("model", "average", "scaling", "task", "optimiser"):
        ours, theirs = (load_file(shelf.path_of(r / "checkpoints", 6) / f"{name}.safetensors") for r in (one, other))
        assert ours.keys() == theirs.keys() and all(ours[key].equal(theirs[key]) for key in ours), name
    path = shelf.path_of(one / "checkpoints", 6)
    assert shelf.weights_of(path).name == "average.safetensors"
    assert load_file(shelf.weights_of(path)).keys() == load_file(path / shelf.MODEL).keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("how", [[], ["compile=true"], ["micro_batch=2", "optim.frozen_backbone=true"]])
def test_a_gpu_does_the_same_with_everything_on(shards: Path, tmp_path: Path, how: list[str]):
    """fp16 on both sides: the first losses within its digits, and a resume that goes on."""
    recipe, here = override(DDP, [*EVERYTHING, *how]), {"shards": shards, "speaks": False}
    train(override(recipe, ["compile=false"]), out=tmp_path / "cpu", device="cpu", stop=3, **here)
    train(recipe, out=tmp_path / "gpu", device="cuda", stop=3, **here)
    cpu, gpu = ([line["loss"] for line in read(tmp_path / name / "journal.jsonl")] for name in ("cpu", "gpu"))
    assert gpu == pytest.approx(cpu, rel=0.05)
    assert train(recipe, out=tmp_path / "gpu", device="cuda", **here).step == 6
