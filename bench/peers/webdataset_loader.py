"""webdataset: tars with one member a field, decoded and stacked in the workers of its own loader."""

import tarfile

# pyright: reportAttributeAccessIssue=false
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

from david.bench.peers import endless, fields

SHARD = 100  # samples


def prepare(raw: Path, samples: int, folder: Path) -> int:
    return write(fields.stored(raw, samples), folder)


def write(samples: Iterable[fields.Stored], folder: Path) -> int:
    for first, shard in groupby(enumerate(samples), lambda numbered: numbered[0] // SHARD):
        with tarfile.open(folder / f"{first:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, stored in shard:
                for name, data in stored.items():
                    member = tarfile.TarInfo(f"{number:07d}.{name}")
                    member.size = len(data)
                    tar.addfile(member, BytesIO(data))
    return sum(path.stat().st_size for path in folder.glob("*.tar"))


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    from webdataset.compat import WebDataset, WebLoader

    tars = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = WebDataset(tars, shardshuffle=len(tars), nodesplitter=None, workersplitter=None, empty_check=False)
    stream = dataset.repeat().shuffle(100).batched(batch_size, collation_fn=fields.tensors, partial=False)
    yield endless(WebLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=2))
