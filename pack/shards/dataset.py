"""Reading a shard set sample by sample, without torch or DALI: `for s in david.pack.read(SHARDS, split="train")`."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from david.pack.errors import BadSample, DavidError
from david.pack.shards import index, manifest, shard
from david.pack.shards.sample import Sample


def read(folder: str | Path, split: str = "train", *, start: int = 0) -> Iterator[Sample]:
    """The samples of a split in stored order from position `start` on (see `sample.Sample`). What was packed, or an
    error: indexes are held against the manifest, members against the hashes in their headers.

    Raises DavidError where the folder holds no such split or an index changed, BadSample where a sample did."""
    dataset = manifest.load(Path(folder))
    return samples(dataset, dataset.split(split), start)


def samples(dataset: manifest.Manifest, shards: tuple[manifest.Shard, ...], start: int = 0) -> Iterator[Sample]:
    """As `read`, of shards whose manifest need not be written yet."""
    for one in shards:
        if start >= one.samples:
            start -= one.samples
            continue
        path = dataset.folder / f"{one.name}.tar"
        rows, keys = index.entries(path.with_suffix(".idx"), dataset.extensions, one.index_sha256)
        if len(rows) != one.samples:
            raise DavidError(f"{path}: its index lists {len(rows)} samples, the manifest {one.samples}")
        try:
            tar = path.open("rb")
        except OSError as error:
            raise DavidError(f"{path}: can't be opened ({error.strerror}); the manifest lists it") from error
        with tar:
            for row in range(start, len(rows)):
                try:
                    members = _members(tar, rows[row].tolist(), keys[row], dataset.extensions)
                    yield shard.decode(members, dataset.compression, dataset.fields)
                except (DavidError, OSError) as error:
                    raise BadSample(f"{path}, sample {row} ({keys[row]})", str(error)) from error
        start = 0


def _members(tar: BinaryIO, spans: list[list[int]], key: str, extensions: tuple[str, ...]) -> list[bytes]:
    """A sample's members, held against the headers that packing wrote for them. Raises DavidError that names one."""
    members = []
    for extension, (offset, size) in zip(extensions, spans, strict=True):
        tar.seek(max(offset - tarfile.BLOCKSIZE, 0))
        head, data = tar.read(tarfile.BLOCKSIZE), tar.read(size)
        if shard.header(f"{key}.{extension}", data) != head:
            raise DavidError(f"{extension}: its bytes changed after packing, or it stands in another shard's tar")
        members.append(data)
    return members
