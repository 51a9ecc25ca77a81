"""MosaicML streaming: its own shards (MDS), local, decoded and stacked in the workers of PyTorch's DataLoader."""

# pyright: reportMissingImports=false
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from david.bench.peers import endless, fields


def prepare(raw: Path, samples: int, folder: Path) -> int:
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns=dict.fromkeys(fields.NAMES, "bytes"), compression=None) as writer:
        for stored in fields.stored(raw, samples):
            writer.write(dict(stored))
    return sum(path.stat().st_size for path in folder.glob("*.mds"))


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    dataset = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch_size, num_canonical_nodes=1)
    how = {"num_workers": workers, "persistent_workers": True, "collate_fn": fields.tensors, "drop_last": True}
    yield endless(DataLoader(dataset, batch_size, **how))
