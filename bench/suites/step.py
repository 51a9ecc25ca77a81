"""How fast david's own optimiser step is on a batch that is there already, and while it is fed by the loader."""

import time
from pathlib import Path

import torch

from david.bench.harness import WARM_UP, Measured, finish
from david.bench.suites.load import open_loader
from david.model import Network
from david.pipeline.batch import Batch
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step.step import Step


def make_step(recipe: Recipe, world: World) -> Step:
    """The recipe's step as `david train` makes it, on weights drawn from its seed: values do not change the time."""
    torch.manual_seed(recipe.seed)
    network = Network(recipe.model).to(world.device).to(memory_format=torch.channels_last)
    return Step(network, recipe, world)


def one_batch(recipe: Recipe, shards: Path, world: World) -> Batch:
    """This rank's share of the first batch."""
    with open_loader(recipe, shards, world) as loader:
        return next(loader)


def step_alone(step: Step, batch: Batch, steps: int) -> Measured:
    """Samples/s of the step on one fixed batch, over all ranks."""
    device = batch.image.device
    for number in range(1, 1 + WARM_UP):
        step(batch, number)
    finish(device)
    begin = time.perf_counter()
    for number in range(1, 1 + steps):
        step(batch, number)
    finish(device)
    samples = steps * len(batch) * step.world.size
    return {"rate": (samples / (time.perf_counter() - begin), "samples/s")}


def both(step: Step, recipe: Recipe, shards: Path, world: World, steps: int) -> Measured:
    """Samples/s of loader and step together, as training runs, and the share of the time that the step waited."""
    device = world.device
    with open_loader(recipe, shards, world) as loader:
        for number in range(1, 1 + WARM_UP):
            step(next(loader), number)
        finish(device)
        waited_s, begin = 0.0, time.perf_counter()
        for number in range(1, 1 + steps):
            batch = next(loader)
            waited_s += loader.wait_s
            step(batch, number)
        finish(device)
        elapsed_s = time.perf_counter() - begin
    return {
        "rate": (steps * recipe.batch_size / elapsed_s, "samples/s"),
        "waited": (waited_s / elapsed_s, "share"),
    }
