"""Where a run's images are decoded: `data.decode=auto` made `cpu` or `gpu`, once, and the same on every rank.

Both ways are tried on a run's own first batches, by all ranks at once, as they will share the machine. A GPU that
decodes takes that time from its own step, and gives other bits, so it has to bring clearly more.
"""

import time
from dataclasses import replace
from pathlib import Path

import torch

from david.pack.errors import DavidError
from david.pipeline.config import Decode
from david.pipeline.loader import Loader
from david.pipeline.reading.sets import Shards
from david.train import run
from david.train.distributed import World
from david.train.recipe import Recipe

WARM_UP, BATCHES, MOST_S = 4, 16, 6.0  # of each way: batches that do not count, that do at most, and for how long
CLEARLY = 1.2  # times as many samples a second
WAYS: tuple[Decode, ...] = ("auto", "cpu", "gpu")  # by the number that ranks tell each other


def require(recipe: Recipe, device: torch.device) -> None:
    """Raise DavidError where the recipe asks for what this device has not."""
    if recipe.data.decode == "gpu" and device.type != "cuda":
        raise DavidError("data.decode is `gpu`, and this run is on a CPU; take --set data.decode=auto or a GPU")


def settled(recipe: Recipe, shards: Shards, out: Path | None, world: World) -> tuple[Recipe, list[str]]:
    """The recipe with a `data.decode` that is not `auto`, and a sentence about it where something was measured.

    out: the run's folder: a run keeps what it began with. Every rank comes here. Raises DavidError where the recipe
    asks for what this device has not."""
    require(recipe, world.device)
    way, told = recipe.data.decode, []
    if way == "auto" and world.device.type != "cuda":
        way = "cpu"
    if way == "auto":
        way = WAYS[world.from_leader(WAYS.index(_begun(out) if world.leads and out is not None else "auto"))]
    if way == "auto":
        way, sentence = faster(recipe, shards, world)
        told.append(sentence)
    return replace(recipe, data=replace(recipe.data, decode=way)), told


def _begun(out: Path) -> Decode:
    """What the run in `out` began with; where an older version began it, on a GPU that was DALI. `auto`: no run."""
    found = run.stored(out)
    if found is None:
        return "auto"
    return "gpu" if found.recipe.data.decode == "auto" else found.recipe.data.decode


def faster(recipe: Recipe, shards: Shards, world: World) -> tuple[Decode, str]:
    """The way that brings more here, by samples/s over all ranks, and a sentence that says so."""
    failed, rates = "", []
    for way in WAYS[1:]:
        try:
            rate = measured(recipe, shards, world, way)
        except DavidError as error:
            if way == "cpu":
                raise
            rate, failed = 0.0, f" ({error})"
        every = world.gather(torch.tensor(rate, dtype=torch.float64, device=world.device))
        rates.append(float(every.sum()) if bool(every.min() > 0) else 0.0)
    cpu, gpu = rates
    if gpu == 0:
        return "cpu", f"data.decode: the CPU decodes, {cpu:,.0f} samples/s, since DALI can't here{failed}"
    chosen: Decode = "gpu" if gpu > CLEARLY * cpu else "cpu"
    name = {"cpu": "the CPU decodes", "gpu": "DALI decodes on the GPU"}[chosen]
    rest = "; the run keeps that, --set data.decode=cpu or gpu chooses for another"
    return (
        chosen,
        f"data.decode: {name}, measured at the start: {cpu:,.0f} samples/s by the CPU, {gpu:,.0f} by DALI{rest}",
    )


def measured(recipe: Recipe, shards: Shards, world: World, way: Decode) -> float:
    """This rank's samples/s of the loader alone, decoding that way: more than 0. Raises DavidError where it can't."""
    data = replace(recipe.data, decode=way)
    how = {"batch_size": recipe.batch_size, "seed": recipe.seed, "device": world.device}
    with Loader(shards, "train", data, **how, rank=world.rank, world_size=world.size) as loader:
        for _ in range(WARM_UP):
            next(loader)
        begun, batches, samples = time.perf_counter(), 0, 0
        while batches < BATCHES and (batches == 0 or time.perf_counter() - begun < MOST_S):
            samples += len(next(loader))
            batches += 1
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)
        return samples / (time.perf_counter() - begun)
