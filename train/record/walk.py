"""How often each sample was trained on, epoch by epoch, counted from the batches themselves."""

from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from david.pipeline.sampling.mixture import Mixture
from david.pipeline.sampling.order import Order, Picks


@dataclass
class Walk:
    """One set of a mixture by weights, or all samples of a run without weights.

    first, samples: the ids that it counts; covered: samples that each epoch trains on, fewer where a short last batch
    is dropped; epochs: whole ones so far; begun: samples seen in the epoch that is not over
    """

    first: int
    samples: int
    covered: int
    epochs: int = 0
    begun: int = 0
    seen: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.seen = np.zeros(self.samples, bool)

    def take(self, picks: Picks) -> bool:
        """Count what a batch has of these samples. False where one comes twice in its epoch, or in another epoch."""
        own = picks.real & (picks.ids >= self.first) & (picks.ids < self.first + self.samples)
        for sample, epoch in zip((picks.ids[own] - self.first).tolist(), picks.epochs[own].tolist(), strict=True):
            if epoch != self.epochs or self.seen[sample]:
                return False
            self.seen[sample] = True
            self.begun += 1
            if self.begun == self.covered:
                self.epochs, self.begun = self.epochs + 1, 0
                self.seen[:] = False
        return True


def walks_of(order: Order | Mixture) -> tuple[Walk, ...]:
    """What has to be counted of a run's batches, before the first."""
    if isinstance(order, Mixture):
        sizes = [one.samples for one in order.sets]
        starts = accumulate(sizes, initial=0)
        return tuple(Walk(start, size, size) for start, size in zip(starts, sizes, strict=False))
    left_over = order.samples % order.batch_size if order.last_batch == "drop" else 0
    return (Walk(0, order.samples, order.samples - left_over),)
