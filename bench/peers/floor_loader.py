"""The decoders alone: david's shards in memory, each thread decoding its JPEG and LZ4 blocks into memory of its own.

What no arrangement around them can beat: nothing is read, placed, joined or handed over.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from david.bench.peers import david_loader
from david.pipeline.engines import images
from david.pipeline.reading import members
from david.pipeline.reading.reader import Encoded, Reader

prepare = david_loader.prepare


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    with closing(Reader(folder / "shards", "train")) as reader:
        samples = [reader.read(number) for number in range(reader.samples)]
    own = local()

    def decode(sample: Encoded) -> None:
        if not hasattr(own, "image"):
            own.image = np.empty((sample.height, sample.width, 3), np.uint8)
            own.outs = {
                field.name: np.empty((field.planes, sample.height, sample.width), np.uint8) for field in sample.fields
            }
        images.decode(sample.rgb, own.image)
        members.inflate(sample.planes, sample.compression, own.outs, sample.where)

    def decode_all(part: list[Encoded]) -> None:
        for sample in part:
            decode(sample)

    def run() -> Iterator[int]:
        while True:
            for start in range(0, len(samples) - batch_size + 1, batch_size):
                chosen = samples[start : start + batch_size]
                list(pool.map(decode_all, [chosen[number::workers] for number in range(workers)]))
                yield batch_size

    with ThreadPoolExecutor(workers) as pool:
        yield run()
