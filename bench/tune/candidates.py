"""Which settings are worth a try here, the most promising first. The first of each list is what would be without them.

None changes what is computed: order, draws, batch and seed stay. How a step is computed (`micro_batch`, `compile`) and
where a GPU's batches are decoded may change how results are rounded, as they do between two machines; where a recipe
promises the same bits (`parallel=exact`), or where a network draws random numbers, these stay as they are.
"""

import math
from collections.abc import Iterable
from itertools import product
from typing import Any

from david.train.recipe import Recipe

Settings = dict[str, Any]  # a recipe's path -> its value

SHARES = (1, 2, 1.5, 0.75, 0.5, 4, 0.25)  # of the cores, as threads: more than there are help where disks are slow
PREFETCH = (2, 4, 8)
PARTS = (1, 2, 4, 8)  # of a rank's batch, computed one after the other
FEW = 12  # images at once, up to which recording CUDA graphs may help, see `compiled.py`


def of_feeding(recipe: Recipe, cores: int, decoders: tuple[str, ...]) -> list[Settings]:
    """Threads, prefetch, and where batches are decoded. cores: of this rank; decoders: that may be chosen from, the
    recipe's own first"""
    data = recipe.data
    usual = {"data.threads": data.threads, "data.prefetch": data.prefetch, "data.decode": decoders[0]}
    threads = unique(max(1, round(share * cores)) for share in SHARES)
    prefetch = unique((*PREFETCH, data.prefetch))
    around = sorted(product(decoders, prefetch, threads), key=lambda one: _far(one[2], cores) + _far(one[1], 2))
    others = [{"data.threads": n, "data.prefetch": depth, "data.decode": where} for where, depth, n in around]
    same = usual | {"data.threads": data.threads or cores}
    return [usual, *(one for one in others if one != same)]


def of_computing(recipe: Recipe, share: int, most: int, on_gpu: bool, draws: bool) -> list[Settings]:
    """How many images are computed at once, and the compiler's mode. recipe: with a `parallel` that is settled; share:
    images of this rank; most: how many of them its memory holds at once; draws: whether a step may draw random numbers

    torch.compile is tried on GPUs alone: on a CPU it takes minutes."""
    usual = {"micro_batch": recipe.micro_batch, "compile": recipe.compile}
    if recipe.parallel == "exact" or draws:
        return [usual]
    now = recipe.micro_batch or share
    sizes = unique([now, *(math.ceil(share / parts) for parts in PARTS)])
    found = [usual]
    for mode in unique([recipe.compile, *(("off", "default", "reduce-overhead") if on_gpu else ())]):
        for size in sizes:
            one = {"micro_batch": None if size == share else size, "compile": mode}
            same = size == now and mode == recipe.compile
            if not same and size <= max(now, most) and (mode != "reduce-overhead" or size <= FEW):
                found.append(one)
    return found


def of_packing(cores: int) -> list[Settings]:
    """Processes."""
    return [{"workers": n} for n in unique(max(1, round(share * cores)) for share in (*SHARES[:5], 1 + 1 / cores))]


def unique(values: Iterable[Any]) -> list[Any]:
    """Each once, in the order of the first."""
    return list(dict.fromkeys(values))


def _far(count: int, usual: int) -> float:
    """In doublings."""
    return abs(math.log2(count / usual))
