"""Reading a shard set sample by sample, without torch or DALI: `for s in david.pack.read(SHARDS, split="train")`."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from david.pack import index, manifest, shard
from david.pack.errors import BadSample, DavidError
from david.pack.schema import Sample


def read(folder: str | Path, split: str = "train", *, start: int = 0) -> Iterator[Sample]:
    """The samples of a split in stored order from position `start` on, in centimetres and unit normals (see
    `schema.Sample`).

    Raises DavidError where the folder holds no such split, BadSample where a sample can't be decoded."""
    dataset = manifest.load(Path(folder))
    return samples(dataset, dataset.split(split), start)


def samples(dataset: manifest.Manifest, shards: tuple[manifest.Shard, ...], start: int = 0) -> Iterator[Sample]:
    """As `read`, of shards whose manifest need not be written yet."""
    for one in shards:
        if start >= one.samples:
            start -= one.samples
            continue
        path = dataset.folder / f"{one.name}.tar"
        rows = index.load(path.with_suffix(".idx"), dataset.extensions)
        try:
            tar = path.open("rb")
        except OSError as error:
            raise DavidError(f"{path}: can't be opened ({error.strerror}); the manifest lists it") from error
        with tar:
            for row, spans in islice(enumerate(rows), start, None):
                members = []
                for offset, size in spans.tolist():
                    tar.seek(offset)
                    members.append(tar.read(size))
                try:
                    yield shard.decode(members, dataset.compression)
                except DavidError as error:
                    raise BadSample(f"{path}, sample {row}", str(error)) from error
        start = 0
