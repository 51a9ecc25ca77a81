"""LitData: its own chunks, local, decoded and stacked in the workers of its own loader."""

# pyright: reportMissingImports=false
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from david.bench.peers import endless, fields


def prepare(raw: Path, samples: int, folder: Path) -> int:
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, stored in enumerate(fields.stored(raw, samples)):
        writer[number] = dict(stored)
    writer.done()
    writer.merge()
    return sum(path.stat().st_size for path in folder.glob("*.bin"))


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(folder), shuffle=True, drop_last=True)
    how = {"num_workers": workers, "persistent_workers": True, "collate_fn": fields.tensors, "drop_last": True}
    yield endless(StreamingDataLoader(dataset, batch_size=batch_size, **how))
