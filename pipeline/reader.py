"""Encoded samples from a shard set on a local disk, by position in their split and in any order.

A sample's members stand side by side in its tar, so each sample is one `pread`: no seek state, no lock, and a file cut
short shows as a short read, where a memory map would end the process. Each member is held against the hash in its
header, so changed bytes never become a batch. Indexes and files are opened as they are needed.
"""

import bisect
import hashlib
import os
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from david.pack import index, manifest, shard
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


class Opened(NamedTuple):
    """A shard in use. handle: of the tar; spans: (n, 5, 2) int64, see `index.load`"""

    path: Path
    handle: int
    spans: np.ndarray


class Reader:
    """Samples of one split. Safe to use from several threads; close it when done.

    Raises DavidError where the folder holds no such split."""

    def __init__(self, folder: Path, split: str):
        self.manifest = manifest.load(Path(folder))
        self._shards = self.manifest.split(split)
        self._ends = list(accumulate(one.samples for one in self._shards))
        self._opened: dict[int, Opened] = {}
        self._opening = threading.Lock()

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
        number = bisect.bisect_right(self._ends, sample)
        row = sample - self._ends[number] + self._shards[number].samples
        opened = self._opened.get(number) or self._open(number)
        spans = opened.spans[row].tolist()
        start, end = spans[0][0] - tarfile.BLOCKSIZE, spans[-1][0] + spans[-1][1]
        where = f"{opened.path}, sample {row}"
        data = room(end - start)
        got = os.preadv(opened.handle, [data], start)
        if got != end - start:
            raise BadSample(where, f"the shard ends {end - start - got} bytes before the sample does; copy it again")
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

    def _open(self, number: int) -> Opened:
        with self._opening:
            if number not in self._opened:
                self._opened[number] = _open(self.manifest, self._shards[number])
            return self._opened[number]

    def close(self) -> None:
        with self._opening:
            for opened in self._opened.values():
                os.close(opened.handle)
            self._opened.clear()


def _open(dataset: manifest.Manifest, listed: Shard) -> Opened:
    path = dataset.folder / f"{listed.name}.tar"
    text = path.with_suffix(".idx")
    spans = index.load(text, dataset.extensions)
    if hashlib.sha256(text.read_bytes()).hexdigest() != listed.index_sha256 or len(spans) != listed.samples:
        raise DavidError(f"{text}: not the index that the manifest lists; copy it again, or pack the set again")
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DavidError(f"{path}: the shard can't be opened ({error.strerror}); the manifest lists it") from error
    found = os.fstat(handle).st_size
    if found != listed.bytes:
        os.close(handle)
        raise DavidError(f"{path}: the shard has {found} bytes, the manifest lists {listed.bytes}; copy it again")
    return Opened(path, handle, spans)
