"""Brings the shards that the steps to come will read, in the order in which they need them, as far ahead as there is
room, see `wanted.py`; and tells the cache which of those that are here may give way to them.
"""

import threading
from collections.abc import Callable
from pathlib import Path

from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.pipeline.reading.cache import GB, UNFORESEEN, Place
from david.pipeline.reading.reader import Reader
from david.pipeline.reading.wanted import Wanted, room
from david.pipeline.sampling.mixture import Mixture
from david.pipeline.sampling.order import Order

THREADS = 4  # shards that are brought at once


class Prefetch:
    """Threads that end with `close`.

    wanted: says what comes next
    bring: has a shard at hand. Where it fails nothing is said: whoever reads the shard tries again, and tells"""

    def __init__(self, wanted: Wanted, bring: Callable[[int], None]):
        self._wanted, self._bring = wanted, bring
        self._moved, self._closing = threading.Condition(), False
        self._threads = [threading.Thread(target=self._run, name="david-bring", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def reached(self, step: int) -> None:
        """Steps before this one need nothing any more."""
        with self._moved:
            self._wanted.reached(step)
            self._moved.notify_all()

    def place(self, shard: int) -> Place:
        """Where a shard stands among those that may give way, see `Wanted.place`."""
        with self._moved:
            return self._wanted.place(shard)

    def _run(self) -> None:
        while (shard := self._next()) is not None:
            self._wanted.look_ahead()
            try:
                self._bring(shard)
            except DavidError:
                continue

    def _next(self) -> int | None:
        """The next shard to bring; waits until there is room. None at the end, also where all shards are at hand."""
        with self._moved:
            while not self._closing:
                if (shard := self._wanted.next()) is not None:
                    return shard
                if self._wanted.complete:
                    return None
                self._moved.wait()
        return None

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

    def needs(step: int) -> list[int]:
        return reader.shards_of(order.batch(step).ids).tolist()

    may = room(sizes, limit, _mixed(reader, config) if train else max(sizes.values()))
    ahead = Prefetch(Wanted(sizes, needs, first, may), bring)
    numbers = {Path(held.path(one)): number for number, (held, one) in enumerate(reader.shards) if held.cache}
    for cache in {id(held.cache): held.cache for held in reader.files if held.cache}.values():
        cache.foresee(lambda path: ahead.place(numbers[path]) if path in numbers else UNFORESEEN)
    return ahead


def _mixed(reader: Reader, config: DataConfig) -> int:
    """Bytes of the shards that an order by blocks reads from at a time, and one to come, of all sets."""
    sets = [[one.bytes for one in held.dataset.splits.get(reader.split, ())] for held in reader.files if held.cache]
    return sum(sum(sorted(sizes)[-config.window - 1 :]) for sizes in sets)


def _require(limit: int, reader: Reader, config: DataConfig) -> None:
    """Raises DavidError where shards would give way before they were read."""
    whole, windows = sum(one.bytes for held, one in reader.shards if held.cache), _mixed(reader, config)
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
