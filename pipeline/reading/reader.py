"""Encoded samples from one or several shard sets, by position in their split and in any order.

A sample's members stand side by side in its tar, so each sample is one span to read: no seek state, no lock, and a
file cut short shows as a short read, where a memory map would end the process. Each member is held against the hash in
its header, so changed bytes never become a batch.
"""

import bisect
import tarfile
from collections.abc import Callable
from itertools import accumulate, chain
from math import isfinite, nan
from typing import Any, NamedTuple

import numpy as np

from david.pack import files
from david.pack.errors import BadSample
from david.pack.shards import shard
from david.pack.shards.manifest import Shard
from david.pack.shards.schema import Compression, Fields
from david.pipeline.reading import members, sets
from david.pipeline.reading.opened import Opened
from david.pipeline.reading.sets import Shards
from david.pipeline.reading.shard_files import ShardFiles


class Encoded(NamedTuple):
    """One sample as it stands in its shard.

    where: names it in messages; key: its id in its source
    rgb: the encoded image
    fields: those that it has beside, each behind the one that it lies within; planes: encoded, by field
    height, width: in pixels
    intrinsics: (3, 3) float64 in pixels, or None
    ranges: field -> what its coding has to know of it, see `RANGES`
    pairs: (P, 4) int64, row and column of the nearer of two points, and of the other; none where nobody compared any
    """

    where: str
    key: str
    rgb: memoryview
    fields: Fields
    planes: dict[str, memoryview]
    compression: Compression
    height: int
    width: int
    intrinsics: np.ndarray | None
    ranges: dict[str, dict[str, float]]
    pairs: np.ndarray


MOST_PAIRS, MOST_SIDE = 1000, 1 << 16  # of a sample; of its rows and columns
RANGES = {  # what has to be known of a field
    "f16-affine": ("offset_m", "scale_m"),
    "f16-relative": ("offset", "scale"),
    "u16-linear": ("offset_m", "scale_m", "step_m"),
}
OFFSETS = ("offset_m", "offset")  # of which any number will do


def fresh(size: int) -> memoryview:
    return memoryview(bytearray(size))


class Reader:
    """Samples of one split of one or several shard sets, whose samples stand one set behind another. Safe to use from
    several threads; close it when done.

    shards: the folder of a shard set, or several. Raises DavidError where they hold no such split."""

    def __init__(self, shards: Shards, split: str):
        self.sets, self.split = sets.load(shards), split
        self.counts = self.sets.counts(split)  # for each set the samples of each of its shards
        own = [ShardFiles(one) for one in self.sets.manifests]
        joined = [[ShardFiles(one) for one in some] for some in self.sets.sidecars]
        self.files = [*own, *chain(*joined)]
        self.shards = [(held, one) for held in own for one in held.dataset.splits.get(split, ())]
        self._ends = list(accumulate(one.samples for _, one in self.shards))
        self._set_ends = np.cumsum([sum(one) for one in self.counts])
        self._beside: list[list[int]] = [[] for _ in self.shards]  # of each the numbers of its sidecars' shards
        first = 0
        for others, counts in zip(joined, self.counts, strict=True):
            for held in others:
                for row, one in enumerate(held.dataset.splits.get(split, ())):
                    self._beside[first + row].append(len(self.shards))
                    self.shards.append((held, one))
            first += len(counts)

    @property
    def samples(self) -> int:
        return self._ends[-1]

    def read(self, sample: int, room: Callable[[int], memoryview] = fresh) -> Encoded:
        """The sample at a position of the split. Raises DavidError naming the shard, BadSample naming the sample.

        room: lends memory of so many bytes, which the sample's members stay in"""
        number, row = self._find(sample)
        rows = [_Row(*self.shards[one], row) for one in (number, *self._beside[number])]
        try:
            return _joined(rows, room)
        except BadSample:
            mended = [one.files.mend(one.shard) for one in rows]
            if not any(mended):
                raise
            return _joined(rows, room)

    def key(self, sample: int) -> str:
        """The name of the sample at a position of the split, as its data set has it: of that, only a header is read."""
        number, row = self._find(sample)
        held, one = self.shards[number]
        opened, head = held.open(one), fresh(tarfile.BLOCKSIZE)
        start = int(held.index(one)[row, 0, 0]) - tarfile.BLOCKSIZE
        _fill(head, opened, start, f"{held.path(one)}, sample {row}")
        name = bytes(head[: tarfile.LENGTH_NAME]).rstrip(b"\0").decode("utf-8", "replace")
        return name.removesuffix(f".{held.extensions[0]}")

    def shards_of(self, samples: np.ndarray) -> np.ndarray:
        """(n,) positions to the numbers, in `shards`, of all shards that hold any of them."""
        own = np.unique(np.searchsorted(self._ends, samples, side="right"))
        return np.unique([*own, *(other for one in own.tolist() for other in self._beside[one])])

    def sets_of(self, samples: np.ndarray) -> np.ndarray:
        """(n,) positions to (n,) int64: which of the sets each sample comes from."""
        return np.searchsorted(self._set_ends, samples, side="right").astype(np.int64, copy=False)

    def _find(self, sample: int) -> tuple[int, int]:
        """The number of the shard that holds a sample, and the sample's place in it."""
        number = bisect.bisect_right(self._ends, sample)
        return number, sample - self._ends[number] + self.shards[number][1].samples

    def stop(self) -> None:
        """End what is being brought from elsewhere: whoever waits for it gets a DavidError."""
        for held in self.files:
            held.stop()

    def close(self) -> None:
        for held in self.files:
            held.close()


class _Row(NamedTuple):
    """One sample's place in a shard of a set, or in that of a sidecar."""

    files: ShardFiles
    shard: Shard
    row: int

    def spans(self) -> np.ndarray:
        """(members, 2) int64, where its members lie."""
        return self.files.index(self.shard)[self.row].astype(np.int64)

    def read(self, opened: Opened, spans: np.ndarray, data: memoryview) -> tuple[str, list[memoryview], dict[str, Any]]:
        """What names it, its members but for the last, and what that tells. data: of its size in the shard."""
        where, start = f"{self.files.path(self.shard)}, sample {self.row}", _start(spans)
        members.load(opened.handle, data, start, spans, self.files.extensions, where)
        *found, about = (data[begin - start : begin - start + size] for begin, size in spans.tolist())
        known = shard.decode_about(about)
        if not self.files.is_key(self.shard, self.row, str(known["id"])):
            raise BadSample(where, f"another sample stands there ({known['id']}): is it another shard's tar?")
        return f"{where} ({known['id']})", found, known


def _start(spans: np.ndarray) -> int:
    """Where a sample begins in its shard."""
    return int(spans[0, 0]) - tarfile.BLOCKSIZE


def _joined(rows: list[_Row], room: Callable[[int], memoryview]) -> Encoded:
    """A sample of a set, the first of these rows, with the fields of its sidecars. Raises DavidError naming the shard,
    BadSample naming the sample."""
    opened = [one.files.open(one.shard) for one in rows]
    spans = [one.spans() for one in rows]
    sizes = [int(one[-1].sum()) - _start(one) for one in spans]
    data, ends = room(sum(sizes)), list(accumulate(sizes))
    pieces = [data[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    where, (rgb, *planes), known = rows[0].read(opened[0], spans[0], pieces[0])
    fields, stored = _there(rows[0].files.fields, planes)
    _check_ranges(fields, known["fields"], where)
    ranges, size = known["fields"], (known["height"], known["width"])
    for at, one in enumerate(rows[1:], 1):
        beside, found, told = one.read(opened[at], spans[at], pieces[at])
        if (told["id"], told["height"], told["width"]) != (known["id"], *size):
            raise BadSample(
                beside,
                f"labels of {told['id']}, {told['height']} x {told['width']}; the sample is {size[0]} x {size[1]}",
            )
        more, these = _there(one.files.fields, found)
        _check_ranges(more, told["fields"], beside)
        fields, stored, ranges = fields + more, stored | these, ranges | told["fields"]
    return Encoded(
        where=where,
        key=str(known["id"]),
        rgb=rgb,
        fields=fields,
        planes=stored,
        compression=rows[0].files.dataset.compression,
        height=size[0],
        width=size[1],
        intrinsics=known["intrinsics"],
        ranges=ranges,
        pairs=_pairs(known, where),
    )


def _there(fields: Fields, members: list[memoryview]) -> tuple[Fields, dict[str, memoryview]]:
    """The fields of a sample that may be valid anywhere, and their members: a member of no bytes says that there is
    none, and nothing lies within what is not there."""
    stored: dict[str, memoryview] = {}
    for field, member in zip(fields, members, strict=True):
        if len(member) and (field.within is None or field.within in stored):
            stored[field.name] = member
    return fields if len(stored) == len(fields) else tuple(one for one in fields if one.name in stored), stored


def _pairs(known: dict[str, Any], where: str) -> np.ndarray:
    """What a sample's JSON member tells of pairs of points. Raises BadSample where they are none."""
    told = known.get("pairs") or []
    pairs = np.array(told, dtype=object).reshape(-1) if isinstance(told, list) else np.empty(1, object)
    if pairs.size > 4 * MOST_PAIRS or pairs.size % 4 or not all(_is_place(one) for one in pairs):
        raise BadSample(where, f"its JSON member tells pairs that are not [row, column, row, column]: {str(told)[:80]}")
    return pairs.astype(np.int64).reshape(-1, 4)


def _is_place(told: object) -> bool:
    return isinstance(told, int) and 0 <= told < MOST_SIDE


def _check_ranges(fields: Fields, ranges: dict[str, dict[str, float]], where: str) -> None:
    """Raises BadSample where a field's values can't be told from what the sample's JSON member says."""
    for field in fields:
        for name in RANGES.get(field.coding, ()):
            value = ranges.get(field.name, {}).get(name, nan)
            if not isfinite(value) or (name not in OFFSETS and value <= 0):
                raise BadSample(
                    where, f"its JSON member tells a {name} of {value} for {field.name}; pack the set again"
                )


def _fill(data: memoryview, opened: Opened, start: int, where: str) -> None:
    """Fill `data` with a file's bytes from `start` on. Raises BadSample where they can't be had."""
    try:
        got = files.fill(opened.handle, data, start)
    except OSError as error:
        raise members.unreadable(where, error) from error
    if got != len(data):
        raise members.cut_short(where, len(data) - got)
