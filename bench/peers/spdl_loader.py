"""SPDL: threads in one process, each making a whole batch in memory of its own."""

import random

# pyright: reportMissingImports=false
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from david.bench.peers import fields


def prepare(raw: Path, samples: int, folder: Path) -> int:
    for number, stored in enumerate(fields.stored(raw, samples)):
        for name, data in stored.items():
            (folder / f"{number:07d}.{name}").write_bytes(data)
    return sum(path.stat().st_size for path in folder.iterdir())


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    import cv2
    from spdl.pipeline import PipelineBuilder

    cv2.setNumThreads(0)
    stems = sorted({path.stem for path in folder.iterdir()})

    def chosen() -> Iterator[list[str]]:
        while True:
            order = random.sample(stems, len(stems))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                yield order[start : start + batch_size]

    def make(keys: list[str]) -> Any:
        stored = [{name: (folder / f"{key}.{name}").read_bytes() for name in fields.NAMES} for key in keys]
        return fields.decode_batch(stored)

    pipeline = PipelineBuilder().add_source(chosen()).pipe(make, concurrency=workers).add_sink(2)
    with (built := pipeline.build(num_threads=workers)).auto_stop():
        yield iter(built)
