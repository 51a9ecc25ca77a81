"""Where the pipeline's time goes, always on: two clock readings for each stage of a sample or a batch.

| stage   | what runs, or waits                                                   | when it is large               |
|---------|-----------------------------------------------------------------------|--------------------------------|
| read    | CPU threads: one `pread` for each sample                              | slow disk: copy shards nearer  |
| inflate | CPU threads: compressed planes to bytes                               | more threads; lz4, not zstd    |
| join    | CPU threads: flip, resize, planes to depth, validity and normals      | more threads                   |
| planes  | the loader's thread waits for the three above                         | they bound the loader          |
| decode  | the loader's thread waits for DALI: images, resizing                  | DALI bounds the loader         |
| augment | the loader's thread copies images into the batch, mirrored, coloured  | rarely                         |
| hold    | the loader's thread waits for the trainer: finished batches are there | data keeps ahead, as it should |
| wait    | the trainer waits for a batch                                         | data bounds the training       |

On a GPU the device inflates, joins and augments: `inflate` is the preparation for it, `augment` holds the join.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

NAMES = ("read", "inflate", "join", "planes", "decode", "augment", "hold", "wait")


class Stages:
    """Seconds of each stage, summed over threads."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._adding = threading.Lock()

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.add(name, perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        with self._adding:
            self._seconds[name] += seconds

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds so far, for all of NAMES."""
        with self._adding:
            return {name: self._seconds[name] for name in NAMES}
