"""Where the pipeline's time goes, always on: two clock readings for each stage of a sample or a batch.

| stage   | what runs, or waits                                                   | when it is large               |
|---------|-----------------------------------------------------------------------|--------------------------------|
| read    | CPU threads: one `pread` for each sample, and its checksums           | slow disk: copy shards nearer  |
| inflate | CPU threads: compressed planes to bytes                               | more threads; lz4, not zstd    |
| join    | CPU threads: planes placed and joined to values and their masks        | more threads                   |
| decode  | CPU threads: images                                                   | more threads; jpeg, not webp   |
| augment | CPU threads: images and alpha placed, coloured, blurred, ...          | fewer of them, or more threads |
| prepare | the loader's thread waits for the five above                          | they bound the loader          |
| hold    | the loader's thread waits for the trainer: finished batches are there | data keeps ahead, as it should |
| wait    | the trainer waits for a batch                                         | data bounds the training       |

Where shards come from an address, `read` is also the wait for those that are not here yet: a larger cache or a faster
network. Where DALI decodes on a GPU, threads only read and, where the device does not, inflate; `decode` is then the
wait for DALI, and `augment` all that follows there.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from david.pipeline import trace

NAMES = ("read", "inflate", "join", "decode", "augment", "prepare", "hold", "wait")


class Stages:
    """Seconds of each stage, summed over threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._adding = threading.Lock()

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time that passes meanwhile."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add((name, perf_counter() - start))

    def add(self, *spent: tuple[str, float]) -> None:
        """Add seconds to stages: what this thread has just done, one after the other."""
        trace.spent(self, spent)
        with self._adding:
            for name, seconds in spent:
                self._seconds[name] += seconds

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far, for all of NAMES."""
        with self._adding:
            return {name: self._seconds[name] for name in NAMES}
