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
from david.pack.shards.schema import Sample

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

    valid: all of them
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


def clean(sample: Sample) -> tuple[Sample, PixelCounts]:
    """The sample without what means nothing in single pixels, and what that was.

    Where depth is not finite, not positive or outlying, `valid` becomes False, and depth NaN; where a normal is not
    finite or not of unit length, `normals_valid` does. A sample may end without a valid pixel; it is not refused here.
    The sample given is left as it is, and is itself the answer where nothing is odd."""
    valid, normals_valid = sample.valid.copy(), sample.normals_valid & sample.valid
    depth_cm = np.ascontiguousarray(sample.depth_cm, np.float32)
    x, y, z = (np.ascontiguousarray(sample.normals[..., axis], np.float32) for axis in range(3))
    nearest, farthest = _codecs.judge(depth_cm, x, y, z, valid, normals_valid)
    for row, column in outliers(depth_cm, valid, nearest, farthest):
        valid[row, column] = normals_valid[row, column] = False
    found = {"valid": sample.valid}
    same = np.array_equal(valid, sample.valid) and np.array_equal(normals_valid, sample.normals_valid)
    if not same:
        depths = depth_cm[sample.valid & ~valid]
        normals = sample.normals[sample.normals_valid & valid & ~normals_valid]
        numbers, vectors = np.isfinite(depths), np.isfinite(normals).all(-1)
        negative, zero = depths[numbers] <= 0, ~normals[vectors].any(-1)
        found |= {"depth_not_finite": ~numbers, "depth_not_positive": negative, "depth_outlying": ~negative}
        found |= {"normals_not_finite": ~vectors, "normals_zero": zero, "normals_not_unit": ~zero}
    counts = PixelCounts(**{name: int(np.count_nonzero(pixels)) for name, pixels in found.items()})
    if same:
        return sample, counts
    depth_cm = np.where(valid, depth_cm, np.float32(np.nan))
    return replace(sample, depth_cm=depth_cm, valid=valid, normals_valid=normals_valid), counts


def outliers(
    depth_cm: np.ndarray, valid: np.ndarray, nearest: float, farthest: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and columns of the valid pixels whose depth is outlying, (M,) each, some at a time.

    depth_cm: (H, W) float32, finite and positive where valid; nearest, farthest: of the valid pixels"""
    step = np.count_nonzero(valid) // _ENOUGH | 1  # odd, so that columns of an even width take turns
    seen = depth_cm.ravel()[::step][valid.ravel()[::step]]
    if seen.size < LEAST_PIXELS:
        return
    tail = max(1, int(TAIL * seen.size))
    ordered = np.partition(seen, (tail, seen.size // 2, -1 - tail))
    low, median, high = (float(ordered[place]) for place in (tail, seen.size // 2, -1 - tail))
    reach = max(high - low, _FINEST * median)
    if nearest >= low - reach and farthest <= high + reach:
        return
    rows, columns = np.nonzero(valid & ((depth_cm < low - reach) | (depth_cm > high + reach)))
    height, width = valid.shape
    down, across = (part.ravel() - WINDOW // 2 for part in np.indices((WINDOW, WINDOW)))
    for start in range(0, rows.size, _AT_ONCE):
        row, column = (places[start : start + _AT_ONCE] for places in (rows, columns))
        depths = depth_cm[row, column].astype(np.float64)
        beyond = np.where(depths < low, low - depths, depths - high)
        y, x = row[:, None] + down, column[:, None] + across
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        alike = np.abs(depth_cm[y, x] - depths[:, None]) <= beyond[:, None] / 2
        companions = np.count_nonzero(inside & valid[y, x] & alike, axis=1)
        surface = (companions >= COMPANIONS) & (depths <= FARTHEST * median) & (depths >= median / FARTHEST)
        yield row[~surface], column[~surface]
