"""Virtual time: threads that want a core, a disk or each other, on a machine with so many cores.

A thread is a generator. What it yields is what it wants next; it goes on when it has had it. Cores are shared evenly
among those who want one, as Linux's scheduler does over times that matter here.
"""

import heapq
from collections.abc import Callable, Generator
from itertools import count
from typing import NamedTuple


class Core(NamedTuple):
    """Time on a core, or on `width` of them at once."""

    ns: float
    width: int = 1


class Sleep(NamedTuple):
    """Time that takes no core."""

    ns: float


class Disk(NamedTuple):
    """Time of the one disk, for which all stand in line."""

    ns: float


class Until(NamedTuple):
    """Whatever others have to do first. It is asked again whenever another thread has gone on."""

    ready: Callable[[], bool]


Thread = Generator[Core | Sleep | Disk | Until, None, None]


class Machine:
    """now: nanoseconds since the beginning
    had_ns, waited_ns: time on cores, and of waiting for them, of all threads together"""

    def __init__(self, cores: float):
        self.now, self._cores = 0.0, cores
        self.had_ns = self.waited_ns = 0.0
        self._served = 0.0  # that each who wants a core has had since the beginning
        self._wanting: list[tuple[float, int, float, Core, Thread]] = []  # served when done, number, since when, what
        self._sleeping: list[tuple[float, int, Thread]] = []  # until when
        self._held: list[tuple[Callable[[], bool], Thread]] = []
        self._wide, self._disk_free, self._numbers = 0, 0.0, count()

    def start(self, thread: Thread) -> None:
        """Let a thread begin now, and run until it wants something."""
        self._go_on([thread])

    def run(self, until: Callable[[], bool]) -> None:
        """Let time pass until then, or until nobody wants anything that time brings."""
        while not until() and (self._wanting or self._sleeping):
            rate = min(1.0, self._cores / self._wide) if self._wide else 1.0
            wide = self._wide
            at = self.now + (self._wanting[0][0] - self._served) / rate if self._wanting else float("inf")
            if self._sleeping and self._sleeping[0][0] <= at:
                at, _, thread = heapq.heappop(self._sleeping)
            else:
                *_, since, had, thread = heapq.heappop(self._wanting)
                wide -= had.width
                self.had_ns += had.ns
                self.waited_ns += at - since - had.ns
            self._served += (at - self.now) * rate
            self._wide = wide
            self.now = at
            self._go_on([thread])

    def _go_on(self, threads: list[Thread]) -> None:
        while threads:
            for thread in threads:
                self._ask(thread)
            threads = [thread for ready, thread in self._held if ready()]
            self._held = [one for one in self._held if one[1] not in threads]

    def _ask(self, thread: Thread) -> None:
        for wanted in thread:
            if isinstance(wanted, Until):
                if not wanted.ready():
                    self._held.append((wanted.ready, thread))
                    return
            elif isinstance(wanted, Core):
                if wanted.ns > 0:
                    self._wide += wanted.width
                    done = self._served + wanted.ns
                    heapq.heappush(self._wanting, (done, next(self._numbers), self.now, wanted, thread))
                    return
            elif wanted.ns > 0:
                begin = max(self.now, self._disk_free) if isinstance(wanted, Disk) else self.now
                if isinstance(wanted, Disk):
                    self._disk_free = begin + wanted.ns
                heapq.heappush(self._sleeping, (begin + wanted.ns, next(self._numbers), thread))
                return
