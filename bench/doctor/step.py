"""A step on each device: on the CPU against plain PyTorch, on a GPU against the CPU's."""

from dataclasses import replace
from typing import Any

from david.bench.doctor import devices
from david.bench.doctor.check import Asked, Said
from david.bench.doctor.drawn import drawn
from david.pack.errors import DavidError

BATCH, STEPS = 4, 2
SMALL = (
    *("data.height=96", "data.width=72", "data.threads=2", "model.backbone_size=32", "model.width=16"),
    *("model.head_widths=8,8", "model.reassemble=8,8,8,8", f"batch_size={BATCH}", "parallel=ddp", "precision=fp32"),
)
PLAIN, DEVICE, HALF = 1e-4, 2e-3, 0.05  # relative: against plain PyTorch, another device's fp32, bf16


def on_cpu(asked: Asked) -> Said:
    """The first step's losses and gradient, by `david.train.step` and by autograd on the same losses."""
    recipe, batch = _given()
    ours, plain = _steps(recipe, batch, "cpu")[0], _plainly(recipe, batch)
    return Said(f"a step is plain PyTorch's within {_apart(ours, plain, PLAIN, 'plain PyTorch'):.0e}")


def on_gpu(asked: Asked) -> Said:
    """Two steps in fp32 and in bf16: losses, and what the first change of the weights does to the second."""
    if not devices.present(asked):
        return devices.not_needed(asked)
    import torch

    recipe, batch = _given()
    expected = [value for one in _steps(recipe, batch, "cpu") for value in one]
    told = []
    for precision, most in (("fp32", DEVICE), ("bf16", HALF)):
        if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            continue
        found = [value for one in _steps(replace(recipe, precision=precision), batch, "cuda") for value in one]
        told.append(f"{precision} within {_apart(found, expected, most, f'those of the CPU, {precision}'):.0e}")
    return Said(f"steps are the CPU's, {' and '.join(told)}")


def _given() -> tuple[Any, Any]:
    """A small recipe and its first batch."""
    import torch

    from david.bench.suites.training import one_batch
    from david.train import recipes
    from david.train.distributed import World
    from david.train.recipe import override

    recipe = override(recipes.recipe("smoke"), list(SMALL))
    with drawn() as shards:
        return recipe, one_batch(recipe, shards, World(0, 1, torch.device("cpu")))


def _steps(recipe: Any, batch: Any, device: str) -> list[list[float]]:
    """Each step's losses and gradient norm."""
    import torch

    from david.bench.suites.training import make_step
    from david.train.distributed import World

    there = torch.device(device, 0) if device == "cuda" else torch.device(device)
    step, batch = make_step(recipe, World(0, 1, there)), batch.to(there)
    found = []
    for number in range(1, 1 + STEPS):
        outcome = step(batch, number)
        found.append([*outcome.losses.double().tolist(), float(outcome.norm)])
    return found


def _plainly(recipe: Any, batch: Any) -> list[float]:
    """The first step's losses and gradient norm, by autograd alone."""
    import torch

    from david.model import build
    from david.train.losses.table import TERMS
    from david.train.tasks.supervised import compare
    from david.train.tasks.table import task_of

    torch.manual_seed(recipe.seed)
    network, task = build(recipe.model), task_of(recipe.objective, recipe.model)
    losses = compare(network(batch.image), batch, [TERMS[name] for name in task.terms]).mean(1)
    sum(weight * loss for weight, loss in zip(task.weights, losses, strict=True)).backward()  # pyright: ignore
    squares = [one.grad.double().square().sum() for one in network.parameters() if one.grad is not None]
    return [*losses.double().tolist(), float(torch.stack(squares).sum().sqrt())]


def _apart(found: list[float], expected: list[float], most: float, what: str) -> float:
    """The largest relative difference. Raises DavidError where it is more than `most`, or a value is not finite."""
    worst = max(abs(a - b) / max(abs(b), 1e-6) for a, b in zip(found, expected, strict=True))
    if not worst <= most:
        raise DavidError(f"losses or gradients are {worst:.1%} off {what}, where {most:.2%} is rounding")
    return worst
