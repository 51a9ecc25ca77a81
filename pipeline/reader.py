"""Encoded samples from a shard set on a local disk, by position in their split and in any order.

A sample's members stand side by side in its tar, so each sample is one `pread`: no seek state, no lock, and a file cut
short shows as a short read, where a memory map would end the process. Each member is held against the hash in its
header, so changed bytes never become a batch. Indexes and files are opened as they are needed; indexes are kept (40
bytes a sample), of the files a bounded number stays open.
"""

import bisect
import os
import resource
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path

import numpy as np

from david.pack import files, index, manifest, shard
from david.pack.errors import BadSample, DavidError
from david.pack.manifest import Shard
from david.pack.schema import PLANES


@dataclass(frozen=True)
class Encoded:
    """One sample as it stands in its shard.

    where: names it in messages
    rgb: the encoded image; planes: the encoded alpha, depth and normals
    height, width: in pixels
    intrinsics: (3, 3) float64 in pixels, or None
    depth_offset_cm, depth_scale_cm: depth in cm is `relative * scale + offset`
    """

    where: str
    rgb: memoryview
    planes: dict[str, memoryview]
    height: int
    width: int
    intrinsics: np.ndarray | None
    depth_offset_cm: float
    depth_scale_cm: float


def fresh(size: int) -> memoryview:
    return memoryview(bytearray(size))


OPEN_SHARDS = 256  # at most, or a quarter of the files that the process may have open


class Opened:
    """A shard's tar that can be read. Closed when nobody holds this any more, so never under a thread that reads."""

    def __init__(self, handle: int):
        self.handle = handle

    def __del__(self) -> None:
        os.close(self.handle)


class Reader:
    """Samples of one split. Safe to use from several threads; close it when done.

    Raises DavidError where the folder holds no such split."""

    def __init__(self, folder: Path, split: str):
        self.manifest = manifest.load(Path(folder))
        self._shards = self.manifest.split(split)
        self._ends = list(accumulate(one.samples for one in self._shards))
        most = min(OPEN_SHARDS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._opened = lru_cache(maxsize=most)(partial(_open, self.manifest))
        self._spans: dict[int, np.ndarray] = {}
        self._indexing = threading.Lock()

    @property
    def samples(self) -> int:
        return self._ends[-1]

    @property
    def counts(self) -> list[int]:
        """How many samples each shard holds."""
        return [one.samples for one in self._shards]

    def read(self, sample: int, room: Callable[[int], memoryview] = fresh) -> Encoded:
        """The sample at a position of the split. Raises DavidError naming the shard, BadSample naming the sample.

        room: lends memory of so many bytes, which the sample's members stay in"""
        number, row = self._find(sample)
        path, spans = _path(self.manifest, self._shards[number]), self._index(number)[row].tolist()
        start, end = spans[0][0] - tarfile.BLOCKSIZE, spans[-1][0] + spans[-1][1]
        where = f"{path}, sample {row}"
        data = room(end - start)
        self._read(number, start, data, where)
        members = []
        for extension, (offset, size) in zip(self.manifest.extensions, spans, strict=True):
            begin = offset - start
            members.append(data[begin : begin + size])
            try:
                shard.check(data[begin - tarfile.BLOCKSIZE : begin], members[-1])
            except DavidError as error:
                raise BadSample(where, f"{extension}: {error}; copy the shard again") from error
        rgb, *planes, about = members
        known = shard.decode_about(about)
        return Encoded(
            where=f"{where} ({known['id']})",
            rgb=rgb,
            planes=dict(zip(PLANES, planes, strict=True)),
            **{name: known[name] for name in ("height", "width", "intrinsics", "depth_offset_cm", "depth_scale_cm")},
        )

    def key(self, sample: int) -> str:
        """The name of the sample at a position of the split, as its data set has it: of that, only a header is read."""
        number, row = self._find(sample)
        head = fresh(tarfile.BLOCKSIZE)
        start = int(self._index(number)[row, 0, 0]) - tarfile.BLOCKSIZE
        self._read(number, start, head, f"{_path(self.manifest, self._shards[number])}, sample {row}")
        name = bytes(head[: tarfile.LENGTH_NAME]).rstrip(b"\0").decode("utf-8", "replace")
        return name.removesuffix(f".{self.manifest.extensions[0]}")

    def _find(self, sample: int) -> tuple[int, int]:
        """The number of the shard that holds a sample, and the sample's place in it."""
        number = bisect.bisect_right(self._ends, sample)
        return number, sample - self._ends[number] + self._shards[number].samples

    def _read(self, number: int, start: int, data: memoryview, where: str) -> None:
        """Fill `data` with a shard's bytes from `start` on."""
        opened = self._opened(self._shards[number])
        try:
            got = os.preadv(opened.handle, [data], start)
        except OSError as error:
            raise BadSample(where, f"can't be read ({error.strerror}); is the disk whole?") from error
        if got != len(data):
            raise BadSample(where, f"the shard ends {len(data) - got} bytes before the sample does; copy it again")

    def _index(self, number: int) -> np.ndarray:
        """Where the members of a shard's samples lie, see `index.load`."""
        if (spans := self._spans.get(number)) is None:
            with self._indexing:
                if (spans := self._spans.get(number)) is None:
                    spans = self._spans[number] = _index(self.manifest, self._shards[number])
        return spans

    def close(self) -> None:
        """Close the files, each as soon as nobody reads from it."""
        self._opened.cache_clear()


def _path(dataset: manifest.Manifest, listed: Shard) -> Path:
    return dataset.folder / f"{listed.name}.tar"


def _index(dataset: manifest.Manifest, listed: Shard) -> np.ndarray:
    text = _path(dataset, listed).with_suffix(".idx")
    spans = index.load(text, dataset.extensions)
    if files.sha256(text) != listed.index_sha256 or len(spans) != listed.samples:
        raise DavidError(f"{text}: not the index that the manifest lists; copy it again, or pack the set again")
    return spans.astype(np.uint32) if listed.bytes < 2**32 else spans  # half the memory


def _open(dataset: manifest.Manifest, listed: Shard) -> Opened:
    path = _path(dataset, listed)
    try:
        opened = Opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise DavidError(f"{path}: the shard can't be opened ({error.strerror}); the manifest lists it") from error
    found = os.fstat(opened.handle).st_size
    if found != listed.bytes:
        raise DavidError(f"{path}: the shard has {found} bytes, the manifest lists {listed.bytes}; copy it again")
    return opened
