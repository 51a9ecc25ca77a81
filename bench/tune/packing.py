"""How long a sample takes to pack with so many processes, by the product's own `build`."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from david.bench import raw as raw_samples
from david.pack.errors import DavidError
from david.pack.work.build import build
from david.pack.work.crew import Event
from david.pack.work.plan import PackOptions
from david.pack.work.worker import Tally

SAMPLES, MOST_SAMPLES = 200, 3000  # links to raw samples, for each process and in all: more than a turn packs
LEAST = 2  # samples of each process that count, however short the turn


class Enough(Exception):
    """The turn's time is over."""


class Pace:
    """A sample's seconds, from when each of `workers` has told of its first sample: what they take to start is little
    of a whole pack. Raises Enough, to whoever tells it of a sample, `budget_s` later."""

    def __init__(self, workers: int, budget_s: float):
        self.workers, self.budget_s = workers, budget_s
        self.heard: set[int] = set()
        self.begin = self.last = 0.0
        self.counted = 0

    def hear(self, worker: int, now: float) -> None:
        if len(self.heard) < self.workers:
            self.heard.add(worker)
            self.begin = now
            return
        self.counted, self.last = self.counted + 1, now
        if self.counted >= LEAST * self.workers and now - self.begin >= self.budget_s:
            raise Enough

    def seconds(self) -> float:
        """Raises DavidError where all was over before each was at work."""
        if not self.counted:
            raise DavidError(f"too few samples for {self.workers} processes to be timed")
        return (self.last - self.begin) / self.counted


class Packing:
    """raw: a folder of `samples` samples; most: processes of any turn"""

    def __init__(self, raw: Path, samples: int, most: int):
        self.raw, self.each = raw, max(1, samples // (2 * most))

    def seconds(self, workers: int, budget_s: float) -> float:
        """A sample's, see `Pace`."""
        pace = Pace(workers, budget_s)

        def hear(event: Event) -> None:
            if isinstance(event.what, Tally):
                pace.hear(event.worker, time.perf_counter())

        with tempfile.TemporaryDirectory() as folder, suppress(Enough):
            options = PackOptions(val_fraction=0, shard_samples=self.each)
            build(self.raw, Path(folder) / "shards", options, workers=workers, hear=hear)
        return pace.seconds()


@contextmanager
def packing(raw: Path, most: int) -> Iterator[Packing]:
    """Meanwhile as many samples as a turn may pack lie in a folder, those of `raw` over and over."""
    with tempfile.TemporaryDirectory() as folder:
        samples = min(SAMPLES * most, MOST_SAMPLES)
        yield Packing(raw_samples.repeated(raw, Path(folder) / "raw", samples), samples, most)
