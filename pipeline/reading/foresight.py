"""When each shard is needed next: the order of steps is computed, so a cache need not guess what to give away.

To throw out what is needed furthest in the future fetches least (Belady, "A Study of Replacement Algorithms for a
Virtual-Storage Computer", IBM Systems Journal 1966).
"""

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable

MOST_AHEAD = 10_000  # steps that are looked at; computing them costs a second


class Foresight:
    """Safe to use from several threads.

    shards: those of interest; needs: the shards of a step; first: step"""

    def __init__(self, shards: Collection[int], needs: Callable[[int], Iterable[int]], first: int):
        self._shards, self._needs = frozenset(shards), needs
        self._present = self._horizon = first  # the horizon is the first step not looked at
        self._uses: dict[int, deque[list[int]]] = {}  # runs of steps: first, last
        self._unknown, self._passed = set(shards), first  # those of no known use from a step on, which is _passed
        self._until: dict[int, int] = {}  # shard -> its last known use
        self._ending: dict[int, set[int]] = {}  # the same by step
        self._knowing, self._looking = threading.Lock(), threading.Lock()

    def reached(self, step: int) -> None:
        """Steps before this one need nothing any more."""
        self._present = step

    def look(self) -> None:
        """Look so far ahead that the next use of every shard is known, or MOST_AHEAD steps."""
        if not self._looking.acquire(blocking=False):  # another thread is at it
            return
        try:
            while self._passed < self._present:
                self._unknown |= {one for one in self._ending.pop(self._passed, ()) if self._until[one] == self._passed}
                self._passed += 1
            self._horizon = max(self._horizon, self._present)
            while self._unknown and self._horizon < self._present + MOST_AHEAD:
                needed = self._shards.intersection(self._needs(self._horizon))
                with self._knowing:
                    for shard in needed:
                        self._note(shard, self._horizon)
                self._unknown -= needed
                self._horizon += 1
        finally:
            self._looking.release()

    def next_use(self, shard: int) -> int | None:
        """The next step that needs a shard, from the present one on; None where none is known."""
        with self._knowing:
            uses = self._uses.get(shard)
            while uses and uses[0][1] < self._present:
                uses.popleft()
            return max(uses[0][0], self._present) if uses else None

    def _note(self, shard: int, step: int) -> None:
        uses = self._uses.setdefault(shard, deque())
        if (last := self._until.get(shard)) in self._ending:
            self._ending[last].discard(shard)
        self._until[shard] = step
        self._ending.setdefault(step, set()).add(shard)
        if uses and uses[-1][1] == step - 1:
            uses[-1][1] = step
        else:
            uses.append([step, step])
