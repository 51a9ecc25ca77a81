"""Encoded samples from one or several shard sets, by position in their split and in any order.

A sample's members stand side by side in its tar, so each sample is one span to read: no seek state, no lock, and a
file cut short shows as a short read, where a memory map would end the process. Each member is held against the hash in
its header, so changed bytes never become a batch.
"""

import bisect
import tarfile
from collections.abc import Callable
from itertools import accumulate
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

    where: names it in messages
    rgb: the encoded image
    fields: those that it has beside, each behind the one that it lies within; planes: encoded, by field
    height, width: in pixels
    intrinsics: (3, 3) float64 in pixels, or None
    ranges: field -> offset_m and scale_m, and step_m where it is stored in whole steps
    pairs: (P, 4) int64, row and column of the nearer of two points, and of the other; none where nobody compared any
    """

    where: str
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
RANGES = {"f16-affine": ("offset_m", "scale_m"), "u16-linear": ("offset_m", "scale_m", "step_m")}


def fresh(size: int) -> memoryview:
    return memoryview(bytearray(size))


class Reader:
    """Samples of one split of one or several shard sets, whose samples stand one set behind another. Safe to use from
    several threads; close it when done.

    shards: the folder of a shard set, or several. Raises DavidError where they hold no such split."""

    def __init__(self, shards: Shards, split: str):
        self.sets, self.split = sets.load(shards), split
        self.counts = self.sets.counts(split)  # for each set the samples of each of its shards
        self.files = [ShardFiles(one) for one in self.sets.manifests]
        self.shards = [(held, one) for held in self.files for one in held.dataset.splits.get(split, ())]
        self._ends = list(accumulate(one.samples for _, one in self.shards))
        self._set_ends = np.cumsum([sum(one) for one in self.counts])

    @property
    def samples(self) -> int:
        return self._ends[-1]

    def read(self, sample: int, room: Callable[[int], memoryview] = fresh) -> Encoded:
        """The sample at a position of the split. Raises DavidError naming the shard, BadSample naming the sample.

        room: lends memory of so many bytes, which the sample's members stay in"""
        held, one, row = self._find(sample)
        try:
            return self._read(held, one, row, room)
        except BadSample:
            if not held.mend(one):
                raise
            return self._read(held, one, row, room)

    def _read(self, held: ShardFiles, one: Shard, row: int, room: Callable[[int], memoryview]) -> Encoded:
        opened, where = held.open(one), f"{held.path(one)}, sample {row}"
        spans = held.index(one)[row].astype(np.int64)
        bounds = spans.tolist()
        start = bounds[0][0] - tarfile.BLOCKSIZE
        data = room(sum(bounds[-1]) - start)
        members.load(opened.handle, data, start, spans, held.extensions, where)
        rgb, *planes, about = (data[begin - start : begin - start + size] for begin, size in bounds)
        known = shard.decode_about(about)
        if not held.is_key(one, row, str(known["id"])):
            raise BadSample(where, f"another sample stands there ({known['id']}): is it another shard's tar?")
        where = f"{where} ({known['id']})"
        fields, stored = _there(held.fields, planes)
        _check_ranges(fields, known["fields"], where)
        return Encoded(
            where=where,
            rgb=rgb,
            fields=fields,
            planes=stored,
            compression=held.dataset.compression,
            height=known["height"],
            width=known["width"],
            intrinsics=known["intrinsics"],
            ranges=known["fields"],
            pairs=_pairs(known, where),
        )

    def key(self, sample: int) -> str:
        """The name of the sample at a position of the split, as its data set has it: of that, only a header is read."""
        held, one, row = self._find(sample)
        opened, head = held.open(one), fresh(tarfile.BLOCKSIZE)
        start = int(held.index(one)[row, 0, 0]) - tarfile.BLOCKSIZE
        _fill(head, opened, start, f"{held.path(one)}, sample {row}")
        name = bytes(head[: tarfile.LENGTH_NAME]).rstrip(b"\0").decode("utf-8", "replace")
        return name.removesuffix(f".{held.extensions[0]}")

    def shards_of(self, samples: np.ndarray) -> np.ndarray:
        """(n,) positions to the numbers, in `shards`, of all shards that hold any of them."""
        return np.unique(np.searchsorted(self._ends, samples, side="right"))

    def sets_of(self, samples: np.ndarray) -> np.ndarray:
        """(n,) positions to (n,) int64: which of the sets each sample comes from."""
        return np.searchsorted(self._set_ends, samples, side="right").astype(np.int64, copy=False)

    def _find(self, sample: int) -> tuple[ShardFiles, Shard, int]:
        """The shard that holds a sample, and the sample's place in it."""
        number = bisect.bisect_right(self._ends, sample)
        held, one = self.shards[number]
        return held, one, sample - self._ends[number] + one.samples

    def stop(self) -> None:
        """End what is being brought from elsewhere: whoever waits for it gets a DavidError."""
        for held in self.files:
            held.stop()

    def close(self) -> None:
        for held in self.files:
            held.close()


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
            if not isfinite(value) or (name != "offset_m" and value <= 0):
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
