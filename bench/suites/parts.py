"""Where the time of one optimiser step goes, and how much of the device's matrix rate it uses.

david's own step runs, with readings of the clock where its parts meet: `Learner.predict` begins and ends, the losses
end, the step is between gradient and change, the optimiser begins, the step is over. On a GPU the readings are CUDA
events, so that nothing waits for anything that it would not wait for.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from david.bench.harness import WARM_UP, Measured, finish
from david.model import build
from david.model.configs.base import ModelConfig
from david.pipeline.batch import Batch
from david.train.distributed import World
from david.train.losses.table import TERMS
from david.train.recipe import Recipe
from david.train.step.gradients import Learner
from david.train.step.precision import half_precision
from david.train.step.step import Step
from david.train.tasks.supervised import compare

PARTS = ("forward", "losses", "backward", "clip", "optimiser")
MATRIX = {"cuda": 8192, "cpu": 1024}  # side of the square matrices that a device's rate is measured with


class Clock:
    """Readings by name, in order; `ms` tells the time up to each from the one before."""

    def __init__(self, device: torch.device):
        self.device, self.readings = device, []

    def read(self, name: str) -> None:
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.readings.append((name, event))
        else:
            self.readings.append((name, time.perf_counter()))

    def ms(self) -> dict[str, float]:
        """The sum of all spans that end at a reading, by its name."""
        finish(self.device)
        spent: dict[str, float] = {}
        for (_, begin), (name, end) in zip(self.readings, self.readings[1:], strict=False):
            span = begin.elapsed_time(end) if self.device.type == "cuda" else 1e3 * (end - begin)
            spent[name] = spent.get(name, 0.0) + span
        return spent


@contextmanager
def watched(step: Step, clock: Clock) -> Iterator[Callable[[], None]]:
    """Meanwhile the step reads the clock between its parts; what it is to be called with as `between` comes back. It
    must sum by DDP's way, without micro-batches."""
    learner = learner_of(step)
    predict = learner.predict

    @wraps(predict)
    def timed(image: torch.Tensor) -> Any:
        clock.read("begin")
        prediction = predict(image)
        clock.read("forward")
        return prediction

    hooks = [
        learner.register_forward_hook(lambda *_: clock.read("losses")),
        step.optimiser.register_step_pre_hook(lambda *_: clock.read("clip")),
        step.optimiser.register_step_post_hook(lambda *_: clock.read("optimiser")),
    ]
    learner.predict = timed
    try:
        yield lambda: clock.read("backward")
    finally:
        learner.predict = predict
        for hook in hooks:
            hook.remove()


def learner_of(step: Step) -> Learner:
    found = step.gradients.learner  # pyright: ignore[reportFunctionMemberAccess]
    return found.module if isinstance(found, nn.parallel.DistributedDataParallel) else found


def parts(step: Step, batch: Batch, steps: int, world: World, rate: float) -> Measured:
    """Milliseconds a step of each part; the share of `rate` (GFLOP/s) that the step's matrices and convolutions use.

    The losses of each term are of their forward alone, on a prediction that is there already."""
    device = batch.image.device
    for number in range(1, 1 + WARM_UP):
        step(batch, number)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clock = Clock(device)
    finish(device)
    begin = time.perf_counter()
    with watched(step, clock) as between:
        for number in range(1, 1 + steps):
            step(batch, number, between)
            clock.read("rest")
    finish(device)
    step_s = (time.perf_counter() - begin) / steps
    spent = clock.ms()
    found: Measured = {name: (spent[name] / steps, "ms") for name in PARTS}
    found |= {name: (value, "ms") for name, value in losses(step, batch, steps).items()}
    if world.size > 1:
        found["all-reduce, alone"] = (all_reduce_ms(step, world), "ms")
    done = flops(step.recipe.model, batch) * len(batch) / step_s / 1e9
    found |= {"arithmetic": (done, "GFLOP/s"), "of the matrix rate": (done / rate, "share")}
    if device.type == "cuda":
        found["memory"] = (torch.cuda.max_memory_allocated(device) / 1e9, "GB at most")
    return found


@torch.no_grad()
def losses(step: Step, batch: Batch, steps: int) -> dict[str, float]:
    """Milliseconds of each term's forward."""
    prediction = step.network(batch.image)
    clock = Clock(batch.image.device)
    names = step.task.terms
    for name in names * (1 + steps):  # the first time round warms up
        clock.read("between")
        compare(prediction, batch, [TERMS[name]])
        clock.read(name)
    clock.readings = clock.readings[2 * len(names) :]
    spent = clock.ms()
    return {name: spent[name] / steps for name in names}


def all_reduce_ms(step: Step, world: World, times: int = 5) -> float:
    """Milliseconds to sum a gradient over all ranks with nothing beside it: what DDP hides behind the backward."""
    gradient = torch.zeros(sum(p.numel() for p in step.parameters), device=world.device)
    dist.all_reduce(gradient)
    finish(world.device)
    begin = time.perf_counter()
    for _ in range(times):
        dist.all_reduce(gradient)
    finish(world.device)
    return 1e3 * (time.perf_counter() - begin) / times


def flops(model: ModelConfig, batch: Batch) -> int:
    """Floating-point operations of the network's forward and backward on one image: matrix products, attention and
    convolutions, a multiplication with its addition as two. Counted on the meta device, where nothing is computed."""
    return flops_at(model, *batch.image.shape[-2:])


def flops_at(model: ModelConfig, height: int, width: int) -> int:
    """The same for an image of so many pixels."""
    with torch.device("meta"):
        network = build(model)
        image = torch.empty(1, 3, height, width, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        said = network(image)
        torch.stack([x.sum() for x in said.values()]).sum().backward()
    return counter.get_total_flops()


def matrix_rate(recipe: Recipe, device: torch.device, times: int = 10) -> float:
    """GFLOP/s of a large matrix product here in the type that the recipe's network computes in: the best of several."""
    side, dtype = MATRIX[device.type], half_precision(recipe.precision, device) or torch.float32
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(times):
        finish(device)
        begin = time.perf_counter()
        torch.matmul(a, b)
        finish(device)
        best = max(best, 2 * side**3 / (time.perf_counter() - begin) / 1e9)
    return best
