"""Which shards to bring, and in which order they give way: the order of samples is computed, so both are known. No
thread, file or clock is in here; `prefetch.py` brings what this wants.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from david.pipeline.reading.cache import Place
from david.pipeline.reading.foresight import MOST_AHEAD, Foresight

BEHIND = 4  # steps by which another rank may be behind this one, or so


AHEAD = 4  # the part of a cache that shards to come may take, as one in so many


def room(sizes: Mapping[int, int], limit_bytes: int, mixed_bytes: int) -> int:
    """The bytes of a cache of `limit_bytes` that the shards to come may take: all where all fit. Else a part, and what
    twice as many take as are mixed at a time, so that the next are here in time; and never the room of one shard, for a
    rank that is behind. The rest is for those that will be read again: to bring what is needed in half an epoch throws
    out what is needed soon after, and fetches it once more (`david bench scale`: of the set 0.83 an epoch instead of
    0.50, where half of it has room).

    sizes: shard -> bytes"""
    if sum(sizes.values()) <= limit_bytes:
        return limit_bytes
    return min(limit_bytes - max(sizes.values()), max(limit_bytes // AHEAD, 2 * mixed_bytes))


class Wanted:
    """Safe to use from one thread at a time, but for `look_ahead`.

    sizes: shard -> bytes, of all shards that may have to be brought; needs: the shards of a step
    first: step; room_bytes: that the shards of the steps from the present one on may take; where a step's shards have
    no room all together, as many come as have"""

    def __init__(self, sizes: dict[int, int], needs: Callable[[int], Iterable[int]], first: int, room_bytes: int):
        self._sizes, self._room_bytes = sizes, room_bytes
        self._needs = lru_cache(maxsize=1)(needs)  # asked again and again while there is no room
        self._all_fit = sum(sizes.values()) <= room_bytes
        self._foresight = Foresight(sizes, needs, first)
        self._used: dict[int, int] = {}  # shard -> the last step before the present one that needed it
        self._present, self._seen = first, first  # the step that is made now, and the first not looked at
        self._last: dict[int, int] = {}  # shard -> the last step up to _seen that needs it
        self._queue: deque[int] = deque()

    @property
    def complete(self) -> bool:
        """Whether all shards were wanted and may stay."""
        return self._all_fit and len(self._last) == len(self._sizes)

    def reached(self, step: int) -> None:
        """Steps before this one need nothing any more."""
        self._present = step
        self._foresight.reached(step)

    def look_ahead(self) -> None:
        """Find out when shards are needed next, where some will have to give way."""
        if not self._all_fit:
            self._foresight.look()

    def place(self, shard: int) -> Place:
        """Where a shard stands among those that may give way, the first first: what is needed furthest in the future,
        or not as far as is known; what was needed just now, for another rank may be behind; what was brought, or is
        to be, for the steps up to the one that there was room for."""
        if self._last.get(shard, -1) >= self._present:
            rank = 2
        else:
            rank = int(max(self._last.get(shard, -1), self._used.get(shard, -1)) >= self._present - BEHIND)
        step = self._foresight.next_use(shard)
        return rank, float("-inf") if step is None else -step

    def next(self) -> int | None:
        """The next shard to bring; None where there is no room for one yet, or where all are at hand."""
        while not self._queue:
            if self.complete or not self._look():
                return None
        return self._queue.popleft()

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
        self._queue.append(fresh[0])
        self._last[fresh[0]] = self._seen
        return True
