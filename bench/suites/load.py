"""How fast david's own loader makes batches when nobody else uses the machine."""

import time
from pathlib import Path

from david.bench.harness import WARM_UP, Measured, finish
from david.pipeline.loader import Loader
from david.pipeline.stages import NAMES
from david.train.distributed import World
from david.train.recipe import Recipe


def open_loader(recipe: Recipe, shards: Path, world: World) -> Loader:
    """The recipe's training loader on `shards`, as `david train` opens it on this rank."""
    return Loader(
        shards,
        "train",
        recipe.data,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        rank=world.rank,
        world_size=world.size,
        device=world.device,
    )


def load_alone(recipe: Recipe, shards: Path, world: World, batches: int) -> Measured:
    """Samples/s of the loader over `batches` batches, of all ranks together, and the share of that time that each of
    this rank's stages was at work or waited (over 1 where several threads are)."""
    with open_loader(recipe, shards, world) as loader:
        for _ in range(WARM_UP):
            next(loader)
        finish(world.device)
        before, begin = loader.stages.seconds(), time.perf_counter()
        for _ in range(batches):
            next(loader)
        finish(world.device)
        elapsed_s = time.perf_counter() - begin
        after = loader.stages.seconds()
    figures = {"rate": (batches * recipe.batch_size / elapsed_s, "samples/s")}
    return figures | {name: ((after[name] - before[name]) / elapsed_s, "share") for name in NAMES}
