"""The constant depth that comes nearest to some samples: what a network that looks has to beat."""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from david.pipeline.batch import Batch

MOST_PIXELS = 4096  # of a sample, evenly spread
MOST_BATCHES = 16


def best_m(depths: Iterable[np.ndarray]) -> float:
    """The metres c with the least mean AbsRel, sum_i |c - d_i| / d_i over each sample's M pixels d, (M,) metres, and
    then over samples: the median of d, each pixel weighed by 1 / (d M). 1 where there is no pixel."""
    chosen, weights = [np.empty(0)], [np.empty(0)]
    for depth in depths:
        there = depth[:: -(-len(depth) // MOST_PIXELS) or 1].astype(np.float64)
        there = there[there > 0]
        chosen.append(there)
        weights.append(1 / (there * max(1, len(there))))
    metres, weight = np.concatenate(chosen), np.concatenate(weights)
    if not len(metres):
        return 1.0
    order = np.argsort(metres)
    sums = np.cumsum(weight[order])
    return float(metres[order][np.searchsorted(sums, sums[-1] / 2)])


def of_batches(batches: Iterable[Batch]) -> float:
    """`best_m` of the first batches of a loader; 1 where they have no depth."""

    def depths() -> Iterable[np.ndarray]:
        for batch in islice(batches, MOST_BATCHES):
            if target := batch.targets.get("depth"):
                offset, scale = (x.view(-1, 1, 1, 1) for x in (batch.depth_offset_m, batch.depth_scale_m))
                metres, valid = target.value.float() * scale + offset, target.valid & batch.real.view(-1, 1, 1, 1)
                yield from (one[there].cpu().numpy() for one, there in zip(metres, valid, strict=True))

    return best_m(depths())
