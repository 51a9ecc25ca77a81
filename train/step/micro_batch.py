"""`--batch-size auto`: how many samples a rank can compute at once, found on the device that it has.

What it settles is the recipe's `micro_batch`. The batch of an optimiser step stays the recipe's, so a run on small GPUs
computes what one on large GPUs does, but for rounding.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from david.model.networks.network import build
from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.pipeline.reading.sets import Shards
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step.step import Step

SPARE = 0.1  # of the device's memory, left to batches that wait, to evaluation and to fragmentation
ADAMW = 4  # float32 copies of each parameter: itself, its gradient, two moments


def fitted(recipe: Recipe, shards: Shards, world: World) -> Recipe:
    """The recipe with the `micro_batch` that every rank has memory for, in parts as even as they can be.

    Raises DavidError where not even one sample fits, and for parallel=exact, which always takes one at a time."""
    if recipe.parallel == "exact":
        raise DavidError("--batch-size auto: parallel=exact computes one sample at a time; add --set parallel=ddp")
    share = math.ceil(recipe.batch_size / world.size)
    data = replace(recipe.data, decode="cpu")  # of DALI's memory none may be held meanwhile
    with Loader(shards, "train", data, batch_size=1, seed=recipe.seed, device=world.device) as loader:
        sample = next(loader)
    fits = {"cuda": fits_gpu, "cpu": fits_cpu}[world.device.type](recipe, sample)
    most = largest(fits, share)
    most = int(world.gather(torch.tensor(most, device=world.device)).min())
    if most == 0:
        raise DavidError(
            f"--batch-size auto: not even one sample of {recipe.name} fits into the memory of {world.device}; take a "
            "smaller model or smaller images, or --set recompute=true"
        )
    parts = math.ceil(share / most)
    return replace(recipe, micro_batch=None if parts == 1 else math.ceil(share / parts))


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest of 0 .. most that fits, where all smaller ones do: doubling from 1, then bisection."""
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def repeated(sample: Batch, size: int) -> Batch:
    """A batch of `size` copies of a batch of one."""
    return sample.each(lambda one: one.repeat(size, *[1] * (one.ndim - 1)))


def fits_gpu(recipe: Recipe, sample: Batch) -> Callable[[int], bool]:
    """By trial: two whole steps, uncompiled, which need no less than compiled ones."""
    device = sample.ids.device
    alone = World(0, 1, device)

    def fits(size: int) -> bool:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(device)
        before = torch.cuda.memory_reserved(device)
        torch.cuda.reset_peak_memory_stats(device)
        try:
            network = build(recipe.model).to(device).to(memory_format=torch.channels_last)
            # not measured for each size; `efficient` needs no more memory than the others, but for `math`
            kernel = "efficient" if recipe.attention == "auto" else recipe.attention
            step = Step(network, replace(recipe, micro_batch=None, compile="off", attention=kernel), alone)
            batch = repeated(sample, size)
            for number in (1, 2):
                step(batch, number)
            torch.cuda.synchronize(device)
        except torch.OutOfMemoryError:
            return False
        return torch.cuda.max_memory_reserved(device) - before <= (1 - SPARE) * free

    return fits


def fits_cpu(recipe: Recipe, sample: Batch) -> Callable[[int], bool]:
    """By account: what autograd keeps for one sample, weights and optimiser, against the memory that is free now."""
    network = build(recipe.model).to(memory_format=torch.channels_last)
    step = Step(network, replace(recipe, micro_batch=None, compile="off"), World(0, 1, torch.device("cpu")))
    kept: dict[int, int] = {}  # bytes of each storage, by address; parameters are kept anyway
    own = {p.untyped_storage().data_ptr() for part in (network, step.task) for p in part.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step.gradients(sample, torch.ones((), dtype=torch.int64), torch.ones(()))
    fixed = ADAMW * sum(p.numel() * p.element_size() for p in step.parameters)
    available = (1 - SPARE) * free_bytes()
    return lambda size: fixed + size * sum(kept.values()) <= available


def free_bytes(system: Path = Path("/")) -> int:
    """What the machine can give without swapping and a container (cgroup v2) may still take, as Linux tells it."""
    meminfo, group = system / "proc/meminfo", system / "sys/fs/cgroup"
    if not meminfo.is_file():
        raise DavidError("--batch-size auto: this system does not tell its free memory; give --set micro_batch=N")
    lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit = (group / "memory.max").read_text().strip() if (group / "memory.max").is_file() else "max"
    return free if limit == "max" else min(free, int(limit) - int((group / "memory.current").read_text()))
