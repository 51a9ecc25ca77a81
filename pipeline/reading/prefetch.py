"""Brings the shards that the steps to come will read, in the order in which they need them, as far ahead as there is
room: the order is computed, so it is known. And says which of those that are here may give way to them.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.pipeline.reading.cache import GB, UNFORESEEN, Place
from david.pipeline.reading.foresight import MOST_AHEAD, Foresight
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling.mixture import Mixture
from david.pipeline.sampling.order import Order

THREADS = 4  # shards that are brought at once
BEHIND = 4  # steps by which another rank may be behind this one, or so


class Prefetch:
    """Threads that end with `close`.

    sizes: shard -> bytes, of all shards that may have to be brought; needs: the shards of a step
    first: step; room_bytes: that the shards of the steps from the present one on may take; where a step's shards have
    no room all together, as many come as have
    bring: has a shard at hand. Where it fails nothing is said: whoever reads the shard tries again, and tells"""

    def __init__(
        self,
        sizes: dict[int, int],
        needs: Callable[[int], Iterable[int]],
        first: int,
        room_bytes: int,
        bring: Callable[[int], None],
    ):
        self._sizes, self._room_bytes, self._bring = sizes, room_bytes, bring
        self._needs = lru_cache(maxsize=1)(needs)  # asked again and again while there is no room
        self._all_fit = sum(sizes.values()) <= room_bytes
        self._foresight = Foresight(sizes, needs, first)
        self._used: dict[int, int] = {}  # shard -> the last step before the present one that needed it
        self._present, self._seen = first, first  # the step that is made now, and the first not looked at
        self._last: dict[int, int] = {}  # shard -> the last step up to _seen that needs it
        self._wanted: deque[int] = deque()
        self._moved, self._closing = threading.Condition(), False
        self._threads = [threading.Thread(target=self._run, name="david-bring", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def reached(self, step: int) -> None:
        """Steps before this one need nothing any more."""
        with self._moved:
            self._present = step
            self._foresight.reached(step)
            self._moved.notify_all()

    def place(self, shard: int) -> Place:
        """Where a shard stands among those that may give way, the first first: what is needed furthest in the future,
        or not as far as is known; what was needed just now, for another rank may be behind; what was brought, or is
        to be, for the steps up to the one that there was room for."""
        with self._moved:
            if self._last.get(shard, -1) >= self._present:
                rank = 2
            else:
                rank = int(max(self._last.get(shard, -1), self._used.get(shard, -1)) >= self._present - BEHIND)
        step = self._foresight.next_use(shard)
        return rank, float("-inf") if step is None else -step

    def _run(self) -> None:
        while (shard := self._next()) is not None:
            if not self._all_fit:
                self._foresight.look()
            try:
                self._bring(shard)
            except DavidError:
                continue

    def _next(self) -> int | None:
        """The next shard to bring; waits until there is room. None at the end, also where all shards are at hand."""
        with self._moved:
            while not self._closing:
                if self._wanted:
                    return self._wanted.popleft()
                if self._all_fit and len(self._last) == len(self._sizes):
                    return None
                if not self._look():
                    self._moved.wait()
        return None

    def _look(self) -> bool:
        """Want one more shard, or see that one more step wants none; False where there is no room yet, or where that is
        very far ahead."""
        self._seen = max(self._seen, self._present)
        if self._seen > self._present + MOST_AHEAD:
            return False
        if not self._all_fit:
            for shard in [shard for shard, step in self._last.items() if step < self._present]:
                self._used[shard] = self._last.pop(shard)
        needed = [shard for shard in self._needs(self._seen) if shard in self._sizes]
        fresh = [shard for shard in needed if shard not in self._last]
        self._last |= dict.fromkeys(set(needed) & self._last.keys(), self._seen)
        if not fresh:
            self._seen += 1
            return True
        taken = sum(self._sizes[shard] for shard in {*self._last, fresh[0]})
        if taken > self._room_bytes and self._seen > self._present:
            return False
        self._wanted.append(fresh[0])
        self._last[fresh[0]] = self._seen
        return True

    def close(self) -> None:
        """Wait for the threads; what they bring must have been stopped."""
        with self._moved:
            self._closing = True
            self._moved.notify_all()
        for thread in self._threads:
            thread.join()


def prefetch(reader: Reader, order: Order | Mixture, config: DataConfig, first: int, train: bool) -> Prefetch | None:
    """What brings a reader's shards in the order of its steps from `first` on; None where all are on local disks.

    Raises DavidError where their cache is too small for the order."""
    sizes = {number: one.bytes for number, (held, one) in enumerate(reader.shards) if held.cache}
    caches = {held.cache.root: held.cache for held, _ in reader.shards if held.cache}
    if not caches:
        return None
    limit = min(cache.limit_bytes for cache in caches.values())
    if train:
        _require(limit, reader, config)

    def bring(number: int) -> None:
        held, one = reader.shards[number]
        assert held.cache
        held.cache.bring(one, wait=False)

    largest = max(sizes.values())
    room = limit if sum(sizes.values()) <= limit else limit - largest  # for a rank that is behind
    ahead = Prefetch(sizes, lambda step: reader.shards_of(order.batch(step).ids).tolist(), first, room, bring)
    numbers = {Path(held.path(one)): number for number, (held, one) in enumerate(reader.shards) if held.cache}
    for cache in {id(held.cache): held.cache for held in reader.files if held.cache}.values():
        cache.foresee(lambda path: ahead.place(numbers[path]) if path in numbers else UNFORESEEN)
    return ahead


def _require(limit: int, reader: Reader, config: DataConfig) -> None:
    """Raises DavidError where shards would give way before they were read."""
    sets = [[one.bytes for one in held.dataset.splits.get(reader.split, ())] for held in reader.files if held.cache]
    whole = sum(map(sum, sets))
    windows = sum(sum(sorted(sizes)[-config.window - 1 :]) for sizes in sets)
    needed = whole if config.shuffle == "full" else windows
    if needed <= limit:
        return
    if config.shuffle == "full":
        remedy = f"data.shuffle=blocks, which needs {windows / GB:.3g} GB with data.window={config.window}"
    else:
        remedy = f"a data.window smaller than {config.window}"
    raise DavidError(
        f"--cache-gb {limit / GB:.3g}: data.shuffle={config.shuffle} reads from {needed / GB:.3g} GB of shards at a "
        f"time, which would be fetched over and over; give --cache-gb {needed / GB * 1.01:.3g}, or take {remedy}"
    )
