"""A GPU in virtual time: what it is asked for it does one after the other, later than the host asks."""

from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from david.bench.explain.cores import Machine, Sleep, Thread, Until


class Job(NamedTuple):
    """asked_ns: when the host began to ask for it; ready: whether what it needs is there"""

    name: str
    asked_ns: float
    ns: float
    ready: Callable[[], bool]


class Device:
    """tell: hears of each job when it ends: its name, when it began, and when it was asked for"""

    def __init__(self, machine: Machine, tell: Callable[..., None]):
        self.jobs: list[Job] = []
        self.done = 0
        self._machine, self._tell = machine, tell
        machine.start(self._run())

    def ask(self, name: str, ns: float, ready: Callable[[], bool] = lambda: True) -> None:
        self.jobs.append(Job(name, self._machine.now, ns, ready))

    def over(self, jobs: int) -> Thread:
        """Wait until so many jobs are done."""
        while self.done < jobs:
            yield Until(lambda: self.done >= jobs)

    def _run(self) -> Thread:
        for number in count():
            while len(self.jobs) <= number:
                yield Until(lambda number=number: len(self.jobs) > number)
            job = self.jobs[number]
            while not job.ready():
                yield Until(job.ready)
            begin = self._machine.now
            yield Sleep(job.ns)
            self.done += 1
            self._tell(job.name, begin, asked_ns=job.asked_ns)
