"""Which samples a step trains on where several shard sets are mixed by weights: a pure function, as in `order.py`.

Samples are counted over all steps of a run. Whose turn the n-th is repeats with a period of as many samples as the
weights sum up to, and each set's count is less than one sample from its share at any n. A set's own samples, counted
on, walk its epochs one after another, each sample exactly once in each, whatever the other sets do; so an epoch belongs
to a set, and no batch is short. Ids are positions in all sets, one behind another.

Legend: B samples of a global batch, K sets, W samples of a period.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import gcd

import numpy as np

from david.pack.errors import DavidError
from david.pipeline.sampling.order import MOST_SAMPLES, Order, Picks
from david.pipeline.sampling.philox import words

PURPOSE = 3  # the part of the Philox counter that keeps these words apart from others
MOST_TURNS = 10_000


@lru_cache(maxsize=8)
def turns(weights: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Whose turn each sample of a period is, (W,) int64, and how many each set had before it, (W, K) int64.

    The j-th sample of a set of weight w may come from floor((j - 1) W / w) on and is due before ceil(j W / w); of those
    that may come the one that is due first does. On one processor that meets every deadline, which is to say that no
    count is ever a whole sample from its share (Baruah et al., "Proportionate Progress", Algorithmica 1996)."""
    period = sum(weights)
    had, owners, before = [0] * len(weights), [], []
    for n in range(period):
        before.append(tuple(had))
        may_come = [k for k, w in enumerate(weights) if had[k] * period // w <= n]
        owner = min(may_come, key=lambda k: -(-(had[k] + 1) * period // weights[k]))
        owners.append(owner)
        had[owner] += 1
    return np.array(owners), np.array(before)


def seed_of(seed: int, number: int) -> int:
    """The seed of a set's own order."""
    low, high = words(seed, number, 0, 0, PURPOSE)[:2].tolist()
    return high << 32 | low


@dataclass(frozen=True)
class Mixture:
    """The steps of a run over several sets. sets: their own orders; weights: whole numbers, a sample of one set for so
    many of another; batch_size: global, over all ranks. Raises DavidError where they can't be mixed."""

    sets: tuple[Order, ...]
    weights: tuple[int, ...]
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.sets):
            raise DavidError(
                f"data.weights has {len(self.weights)} numbers for {len(self.sets)} shard sets; give one each"
            )
        if self.batch_size < 1:
            raise DavidError(f"a batch of {self.batch_size} samples is none; choose at least 1")
        if self.samples > MOST_SAMPLES:
            raise DavidError(f"{self.samples} samples have no order; at most {MOST_SAMPLES} can be ordered")
        if self.period > MOST_TURNS:
            raise DavidError(f"data.weights sum up to {self.period}; round them, to a sum of {MOST_TURNS} at most")

    @property
    def samples(self) -> int:
        return sum(one.samples for one in self.sets)

    @property
    def period(self) -> int:
        return sum(self._reduced())

    def _reduced(self) -> tuple[int, ...]:
        return tuple(weight // gcd(*self.weights) for weight in self.weights)

    def batch(self, step: int) -> Picks:
        """The global batch of a step, counted from 0. Epochs are each set's own."""
        weights = self._reduced()
        owners, before = turns(weights)
        periods, places = np.divmod(np.arange(step * self.batch_size, (step + 1) * self.batch_size), len(owners))
        owner = owners[places]
        counts = periods * np.array(weights)[owner] + before[places, owner]
        ids, epochs = np.empty_like(counts), np.empty_like(counts)
        starts = [0, *accumulate(one.samples for one in self.sets)]
        for number in np.unique(owner).tolist():
            one, slots = self.sets[number], np.flatnonzero(owner == number)
            epochs[slots], positions = np.divmod(counts[slots], one.samples)
            for epoch in np.unique(epochs[slots]).tolist():
                now = epochs[slots] == epoch
                ids[slots[now]] = starts[number] + one.permuted(epoch)(positions[now])
        return Picks(ids, epochs, np.ones(len(ids), bool))
