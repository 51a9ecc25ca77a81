"""What a node's cache fetches: the product's `Wanted` says what to bring and which may give way, `cache.by_turn` in
which order; here is only a shelf that counts where a disk would be filled.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from david.bench.scale.made_up import Scale
from david.pipeline.config import DataConfig
from david.pipeline.reading.cache import UNFORESEEN, Held, Place, by_turn
from david.pipeline.reading.wanted import Wanted, room
from david.pipeline.sampling.order import Blocks, Order

WINDOW = DataConfig().window
READ, KEPT = "last read", "next use"
Turns = list[Held[int]]  # shards that are to give way, the first last


class Needs(NamedTuple):
    """The shards of each step of an order by blocks: all of the windows that its batch reaches into. With many more
    samples in a batch than shards in a window none is left out; `exact` asks the order for every sample."""

    order: Order

    def __call__(self, step: int) -> list[int]:
        epoch, index = divmod(step, self.order.batches_per_epoch)
        its = self.order.permuted(epoch)
        assert isinstance(its, Blocks)
        ends = np.array([index * self.order.batch_size, (index + 1) * self.order.batch_size - 1])
        first, last = np.searchsorted(its.ends, ends, side="right") // its.window
        return (its.starts[first * its.window : (last + 1) * its.window] // self.order.shards[0]).tolist()

    def exact(self, step: int) -> list[int]:
        return np.unique(self.order.batch(step).ids // self.order.shards[0]).tolist()


class Shelf:
    """A cache without a disk. most: shards that it holds; wanted: whose places count; None for what was read longest
    ago, as caches do that know of no order, and what was brought ahead stays until it was read"""

    def __init__(self, most: int, wanted: Wanted, by: str):
        self.read: dict[int, int] = {}  # shard that is here -> step that read it last, or that it was brought in
        self._most, self._wanted, self._by, self._turns = most, wanted, by, Turns()

    def reached(self, step: int) -> None:
        """Steps before this one need nothing any more: others may give way first."""
        self._wanted.reached(step)
        self._turns.clear()

    def put(self, shard: int, step: int) -> bool:
        """Have a shard here; whether it had to be fetched."""
        if shard in self.read:
            return False
        while len(self.read) >= self._most:
            self._give_way()
        self.read[shard] = step
        return True

    def _give_way(self) -> None:
        while self._turns:
            one = self._turns.pop()
            if self.read.get(one.what) == one.read and self._place(one.what) == one.place:
                del self.read[one.what]
                return
        self._turns = by_turn(Held(self._place(one), when, 1, one) for one, when in self.read.items())[::-1]

    def _place(self, shard: int) -> Place:
        place = self._wanted.place(shard)
        return place if self._by == KEPT or place[0] == 2 else UNFORESEEN


def fetched(scale: Scale, needs: Callable[[int], list[int]], steps: int, share: float, by: str) -> list[int]:
    """Shards that a node fetches in each of so many steps. share: of the set, that its cache holds; by: KEPT or READ"""
    count = len(scale.counts)
    most = max(1, int(share * count))
    sizes = dict.fromkeys(range(count), scale.shard_bytes)
    may = room(sizes, most * scale.shard_bytes, (WINDOW + 1) * scale.shard_bytes)
    wanted = Wanted(sizes, needs, 0, may)
    shelf, brought = Shelf(most, wanted, by), [0] * steps
    for step in range(steps):
        shelf.reached(step)
        while (shard := wanted.next()) is not None:
            wanted.look_ahead()
            brought[step] += shelf.put(shard, step)
        for shard in needs(step):
            brought[step] += shelf.put(shard, step)
            shelf.read[shard] = step
    return brought
