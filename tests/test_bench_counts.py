"""What a step asks of a GPU, counted without one; and that nothing of a step is left on the CPU or asked for there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from david.bench.counting import Count, Counting
from david.bench.fake_gpu import CUDA, Walk, batch_of, fake_gpu, on_gpu, step_of
from david.bench.suites import counts
from david.model import build
from david.model.heads.depth import RelativeDepth
from david.train import recipes
from david.train.losses import mse
from david.train.losses.alignment import align
from david.train.losses.table import TERMS
from david.train.recipe import Recipe, override
from david.train.step.gradients import Learner
from david.train.tasks.supervised import Supervised
from tests.smallest import SMALLEST

ROOT = Path(__file__).resolve().parent.parent
TINY = override(
    recipes.recipe("smoke"), [*SMALLEST, "data.height=64", "batch_size=2", *(f"objective.{name}=1" for name in TERMS)]
)


def counted(work: Callable[[], object]) -> Count:
    counting = Counting()
    with fake_gpu(Walk(counting.entering)), counting:
        work()
    return sum(counting.found.values(), Count())


def test_the_count_of_a_few_operations_is_that_by_hand() -> None:
    def work() -> None:
        x = torch.empty(2, 8, 4, 4, device=CUDA)  # no kernel
        w = torch.ones(8, 1, 1, 1, device=CUDA)  # 32 bytes written
        y = x * w.expand(8, 8, 1, 1)[:, 0:1].transpose(0, 1)  # 1024 and 32 read, 1024 written
        y.view(2, -1)[:, :16].add_(1)  # 128 read and written
        y.copy_(x)  # 1024 read, 1024 written
        torch.zeros(3)  # the host's

    found = counted(work)
    assert (found.kernels, found.scatters, found.waits) == (4, 0, 0)
    assert (found.read, found.written) == (1024 + 32 + 128 + 1024, 32 + 1024 + 128 + 1024)


@pytest.mark.parametrize(
    ("work", "scatters", "waits"),
    [
        (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear").sum().backward(), 1, 0),
        (lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate").sum().backward(), 1, 0),
        (lambda x: x[:, torch.zeros(5, dtype=torch.int64, device=CUDA)].sum().backward(), 1, 0),
        (lambda x: x.detach().index_add_(0, torch.zeros(2, dtype=torch.int64, device=CUDA), x.detach()), 1, 0),
        (lambda x: x.detach().sum().item(), 0, 1),
        (lambda x: float(x.detach().sum()) + bool(x.sum() > 0), 0, 2),
        (lambda x: x.cpu(), 0, 1),
        (lambda x: torch.empty(2, 3, 4, 4).copy_(x), 0, 1),
        (lambda x: (x * 2)[..., ::2].sum().backward(), 0, 0),
    ],
)
def test_what_scatters_and_what_waits_is_seen(work: Callable, scatters: int, waits: int) -> None:
    found = counted(lambda: work(torch.ones(2, 3, 4, 4, device=CUDA, requires_grad=True)))
    assert (found.scatters, found.waits) == (scatters, waits)


class Within(torch.autograd.Function):
    """A function whose backward differentiates for itself."""

    @staticmethod
    def forward(ctx, x: torch.Tensor):
        with torch.enable_grad():
            ctx.leaf = x.detach().requires_grad_()
            ctx.said = ctx.leaf.sin() * ctx.leaf
        return ctx.said.detach(), x.new_zeros(2)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        assert not gradients[1].any()
        return torch.autograd.grad(ctx.said, [ctx.leaf], gradients[0])


def test_walking_the_graph_gives_the_gradients_of_torch() -> None:
    """On values, on the CPU: a loss that is broadcast, cast, indexed, differentiated within and summed in many ways."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, padding=1)
    net = nn.Sequential(first, nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)).double()
    x, target = torch.randn(2, 3, 6, 6, dtype=torch.float64), torch.randn(2, 1, 6, 6)
    valid = torch.rand(2, 1, 6, 6) > 0.2

    def loss() -> torch.Tensor:
        said = net(x)
        aligned, (within, _) = align(said, target, valid), Within.apply(said)
        more = (said[:, :, ::2] * first.weight[0, 0, 0, :1].float()).unbind(2)
        return (mse.mse(aligned, target, valid) + within.abs().mean((1, 2, 3))).sum() + more[1].mean()

    expected = torch.autograd.grad(loss(), list(net.parameters()))
    Walk().backward(loss())
    for parameter, other in zip(net.parameters(), expected, strict=True):
        assert parameter.grad is not None and torch.allclose(parameter.grad, other, rtol=1e-5, atol=1e-6)


def test_each_backward_belongs_to_the_part_that_made_it() -> None:
    counting = Counting()
    with fake_gpu(Walk(counting.entering)), counting:
        w = torch.ones(4, 4, device=CUDA, requires_grad=True)
        with counting.of("first"):
            x = w @ w
        with counting.of("second"):
            y = x.sin().sum()
        y.backward()
    found = {name: set(one.by) for name, one in counting.found.items()}
    assert found["first, forward"] == {"mm"} and found["second, forward"] == {"sin", "sum"}
    assert found["first, backward"] >= {"mm", "add"} and "mul" not in found["first, backward"]
    assert found["second, backward"] >= {"mul", "cos"} and "mm" not in found["second, backward"]


@pytest.fixture(scope="module")
def all_terms() -> tuple[dict[str, Count], str]:
    return counts.count(TINY)


def test_a_step_of_all_terms_asks_nothing_of_the_host_and_scatters_nothing(
    all_terms: tuple[dict[str, Count], str],
) -> None:
    found, precision = all_terms
    assert precision == "bf16" and set(found) == set(counts.ORDER)
    assert all(one.kernels and one.read and one.written for one in found.values())
    # a pyramid of sides that halve evenly, as those of 512 x 384 do; others go the plain way, which scatters
    assert sum(one.waits for one in found.values()) == sum(one.scatters for one in found.values()) == 0
    assert found[counts.OPTIMISER].by["_fused_adamw_"] >= 1


def test_base_goes_forward_and_backward_on_a_gpu() -> None:
    """At its own size: no value is asked for, nothing lies on the CPU."""
    base = replace(recipes.recipe("david-base"), batch_size=2)
    with fake_gpu():
        step, batch = step_of(base), batch_of(base)
        said = Learner.predict(step.gradients.learner, batch.image)  # pyright: ignore[reportFunctionMemberAccess]
        assert all(one.device == CUDA and one.dtype == torch.float32 for one in said.values())
        assert [tuple(one.shape) for one in said.values()] == [(2, c, 512, 384) for c in (1, 3, 1)]
        losses = step.gradients(batch, batch.real.sum(), torch.ones((), device=CUDA))
        assert losses.shape == (len(step.task.terms),) and losses.device == CUDA
        assert all(p.grad is not None and p.grad.device == CUDA for p in step.parameters)


def forward_and_back(recipe: Recipe) -> None:
    with fake_gpu():
        step, batch = step_of(recipe), batch_of(recipe)
        step.gradients(batch, batch.real.sum(), torch.ones((), device=CUDA))


def test_a_tensor_left_on_the_cpu_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    said = RelativeDepth.say
    monkeypatch.setattr(RelativeDepth, "say", lambda self, x: said(self, x) * torch.ones(1))
    with pytest.raises(RuntimeError, match=r"two different devices|[Dd]evice"):
        forward_and_back(TINY)
    monkeypatch.setattr(RelativeDepth, "say", said)
    own = Supervised.total
    monkeypatch.setattr(Supervised, "total", lambda self, m, p: own(self, m, p) + torch.arange(3.0).sum(0, True))
    with pytest.raises(RuntimeError, match=r"two different devices|[Dd]evice"):
        forward_and_back(TINY)


def test_a_value_that_is_asked_for_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    said = RelativeDepth.say
    monkeypatch.setattr(RelativeDepth, "say", lambda self, x: said(self, x) / x.max().item())
    with pytest.raises(DataDependentOutputException):
        forward_and_back(TINY)
    found, _ = counts.count(TINY)
    assert sum(one.waits for one in found.values()) == 1


def test_the_network_there_is_the_recipes() -> None:
    with fake_gpu():
        there = on_gpu(TINY)
        assert {p.device for p in (*there.parameters(), *there.buffers())} == {CUDA}
    here = build(TINY.model).to(memory_format=torch.channels_last)
    shapes = {name: (p.shape, p.stride(), p.dtype) for name, p in here.named_parameters()}
    assert {name: (p.shape, p.stride(), p.dtype) for name, p in there.named_parameters()} == shapes


def test_the_row_says_what_was_counted(all_terms: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "count", lambda recipe: all_terms)
    row = json.loads(json.dumps(counts.measure(TINY).row()))
    assert row["suite"] == "counts" and row["precision"] == "bf16" and row["batch_size"] == 2
    assert set(row["figures"]) == set(counts.ORDER) and row["data"]["folder"]
    assert row["figures"]["losses, forward"]["kernels"]["median"] > 10


def test_the_kept_rows_say_what_decoder_heads_and_losses_were_and_are() -> None:
    """Of david-base, 96 images of 512 x 384 in bf16: the first row before phases and gathered resizes, the last now."""
    rows = [json.loads(line) for line in (ROOT / "bench" / "results" / "counts.jsonl").read_text().splitlines()]
    assert all(
        (row["recipe"]["name"], row["batch_size"], row["precision"]) == ("david-base", 96, "bf16") for row in rows
    )

    def sums(row: dict, *names: str) -> int:
        return sum(row["figures"][part][name]["median"] for part in counts.OURS for name in names)

    before, now = rows[0], rows[-1]
    assert sums(now, "scatters") == sums(now, "waits") == 0 < sums(before, "scatters")
    assert sums(now, "read", "written") < 2 / 3 * sums(before, "read", "written")
    assert sums(now, "kernels") < 2 / 3 * sums(before, "kernels")
