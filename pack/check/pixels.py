"""Pixels judged one by one: what means nothing is invalid by itself, counted, and harms no other pixel.

Real data holds odd pixels: normals of length 0 on silhouettes, depth that is no number, a single depth of kilometres in
a face. Such a pixel says nothing about its sample, so none is refused here.

**Outlying depth.** Relative depth is stored in steps of the sample's range (`schema.py`), so one absurd pixel costs all
the others their precision. Outliers are told from surfaces by the sample itself:

- the *body* of depth reaches from the 1st to the 99th percentile of the valid pixels: what covers more than 1 % of them
  at an end is a surface, wherever it lies. Its *span* is the distance between the two;
- what lies within a span beyond the body is kept: the tails of real samples reach half as far;
- what lies farther out is kept where it looks like a surface: where its 5 x 5 window holds at least 9 pixels, itself
  among them, whose depths differ from its own by at most half its distance from the body, as they do in the corner of
  a surface of 3 x 3 pixels. A ball five metres away is kept, scattered pixels are not, nor are silhouettes one pixel
  wide that a resize has blended with the background;
- unless it is a hundred times as far away as the median, or as near: no surface of that few pixels is.

Whatever single pixel is added to a sample, it is thrown out, or at most doubles the range of the others: beyond a span
it has eight companions that reach at least half as far. Float16 errs by at most an 8,192nd of the range, so by at
most a 4,096th of the others'. Where a span is less than float32 can tell (a flat wall), it is taken to be so wide that
what is kept for it comes back exactly still.

Legend: H rows, W columns, N valid pixels, M pixels in question.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from david.pack.shards import _codecs
from david.pack.shards.sample import Sample
from david.pack.shards.schema import Fields

TAIL = 0.01  # of the valid pixels, at each end: above this they are a surface
LEAST_PIXELS = 16  # below this nothing is told about outliers
WINDOW, COMPANIONS = 5, 9
FARTHEST = 100.0  # times the median
_ENOUGH = 8192  # pixels for a percentile
_AT_ONCE = 16_384  # pixels whose windows are looked at together
_FINEST = 2.0**-14  # of the median, the least span: float16's steps of twice that are finer than float32's


@dataclass(frozen=True)
class PixelCounts:
    """What was found, in pixels that the source calls valid; each counts once, by the first that applies.

    valid: all of them; those with a normal where a sample has no depth
    depth_not_finite, depth_not_positive, depth_outlying: now without depth and normal
    normals_not_finite, normals_zero, normals_not_unit: now without normal; unit is a length within 0.01 of 1
    """

    valid: int = 0
    depth_not_finite: int = 0
    depth_not_positive: int = 0
    depth_outlying: int = 0
    normals_not_finite: int = 0
    normals_zero: int = 0
    normals_not_unit: int = 0

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def odd(self) -> int:
        """Pixels that lost their depth or their normal."""
        return sum(asdict(self).values()) - self.valid

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "PixelCounts":
        return cls(**content)


def bounded(fields: Fields) -> bool:
    """Whether a normal counts only where depth is valid."""
    return any(one.name == "normals" and one.within == "depth" for one in fields)


def clean(sample: Sample, fields: Fields) -> tuple[Sample, PixelCounts]:
    """The sample without what means nothing in single pixels, and what that was.

    Where depth is not finite, not positive or outlying, its mask becomes False, and depth NaN; where a normal is not
    finite or not of unit length, and where depth is invalid if that bounds normals, the mask of normals does. A sample
    may end without a valid pixel; it is not refused here. The sample given is left as it is, and is itself the answer
    where nothing is odd."""
    masks = {name: sample.masks[name].copy() for name in ("depth", "normals") if name in sample.values}
    if not masks:
        return sample, PixelCounts()
    depth = np.ascontiguousarray(sample.value("depth"), np.float32) if "depth" in masks else None
    nearest, farthest = _judge(sample, depth, masks, bounded(fields))
    if depth is not None:
        for row, column in outliers(depth, masks["depth"], nearest, farthest):
            masks["depth"][row, column] = False
            if bounded(fields) and "normals" in masks:
                masks["normals"][row, column] = False
    first = sample.valid(next(iter(masks)))
    if all(np.array_equal(mask, sample.masks[name]) for name, mask in masks.items()):
        return sample, PixelCounts(valid=int(np.count_nonzero(first)))
    found = {"valid": first} | _found(sample, depth, masks, bounded(fields))
    counts = PixelCounts(**{name: int(np.count_nonzero(pixels)) for name, pixels in found.items()})
    values = sample.values
    if depth is not None:
        sky = (depth == np.inf) & ~sample.depth_valid
        values = values | {"depth": np.where(masks["depth"] | sky, depth, np.float32(np.nan))}
    return replace(sample, values=values, masks=sample.masks | masks), counts


def _judge(sample: Sample, depth: np.ndarray | None, masks: dict[str, np.ndarray], within: bool) -> tuple[float, float]:
    """Take out of the masks what is none by itself; the nearest and the farthest depth that is left. Both masks are
    judged in one pass where a normal needs a depth."""
    nearest = farthest = 0.0
    together = within and len(masks) == 2
    if depth is not None and not together:
        nearest, farthest = _codecs.judge(depth, depth, depth, depth, masks["depth"], np.zeros_like(masks["depth"]))
    if "normals" in masks:
        x, y, z = (np.ascontiguousarray(sample.normals[..., axis], np.float32) for axis in range(3))
        if together and depth is not None:
            masks["normals"] &= masks["depth"]
            nearest, farthest = _codecs.judge(depth, x, y, z, masks["depth"], masks["normals"])
        else:
            anywhere = np.ones_like(masks["normals"])
            _codecs.judge(np.ones_like(x), x, y, z, anywhere, masks["normals"])
    return nearest, farthest


def _found(
    sample: Sample, depth: np.ndarray | None, masks: dict[str, np.ndarray], within: bool
) -> dict[str, np.ndarray]:
    """For each name of `PixelCounts` but `valid` the pixels that were taken out for it, True among False."""
    found = {}
    if depth is not None:
        depths = depth[sample.depth_valid & ~masks["depth"]]
        numbers = np.isfinite(depths)
        negative = depths[numbers] <= 0
        found |= {"depth_not_finite": ~numbers, "depth_not_positive": negative, "depth_outlying": ~negative}
    if "normals" in masks:
        lost = sample.normals_valid & ~masks["normals"]
        if depth is not None and within:
            lost &= masks["depth"]
        normals = sample.normals[lost]
        vectors = np.isfinite(normals).all(-1)
        zero = ~normals[vectors].any(-1)
        found |= {"normals_not_finite": ~vectors, "normals_zero": zero, "normals_not_unit": ~zero}
    return found


def outliers(
    depth: np.ndarray, valid: np.ndarray, nearest: float, farthest: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the valid pixels whose depth is outlying, (M,) each, some at a time.

    depth: (H, W) float32 in any unit, finite and positive where valid; nearest, farthest: of the valid pixels"""
    step = np.count_nonzero(valid) // _ENOUGH | 1  # odd, so that columns of an even width take turns
    seen = depth.ravel()[::step][valid.ravel()[::step]]
    if seen.size < LEAST_PIXELS:
        return
    tail = max(1, int(TAIL * seen.size))
    ordered = np.partition(seen, (tail, seen.size // 2, -1 - tail))
    low, median, high = (float(ordered[place]) for place in (tail, seen.size // 2, -1 - tail))
    reach = max(high - low, _FINEST * median)
    if nearest >= low - reach and farthest <= high + reach:
        return
    rows, columns = np.nonzero(valid & ((depth < low - reach) | (depth > high + reach)))
    height, width = valid.shape
    down, across = (part.ravel() - WINDOW // 2 for part in np.indices((WINDOW, WINDOW)))
    for start in range(0, rows.size, _AT_ONCE):
        row, column = (places[start : start + _AT_ONCE] for places in (rows, columns))
        depths = depth[row, column].astype(np.float64)
        beyond = np.where(depths < low, low - depths, depths - high)
        y, x = row[:, None] + down, column[:, None] + across
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        alike = np.abs(depth[y, x] - depths[:, None]) <= beyond[:, None] / 2
        companions = np.count_nonzero(inside & valid[y, x] & alike, axis=1)
        surface = (companions >= COMPANIONS) & (depths <= FARTHEST * median) & (depths >= median / FARTHEST)
        yield row[~surface], column[~surface]
