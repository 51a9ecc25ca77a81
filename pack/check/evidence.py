"""What one sample shows of its conventions, as far as it has the fields: measured here, judged over many samples in
`conventions.py`.

Where a surface recedes to the right its normals point right, where it recedes upwards they point up, and what a
camera sees faces it. So the signs of X and Y follow the depth's slopes, and Z is positive. Real SynthHuman faces
agree on 80 to 95 % of the pixels (hair and skin relief make the rest) and have Z > 0 on 95 to 100 %.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from david.pack.check.pixels import PixelCounts, bounded, clean
from david.pack.errors import BadSample
from david.pack.shards.sample import Sample
from david.pack.shards.schema import Fields

LEAST_PIXELS = 200  # below this, signs prove nothing
_ENOUGH = 2048  # values for a median,
_ENOUGH_SLOPES = 8192  # and slopes for a share
_STEP_PX = 2  # signs are compared on every second row and column;
_REACH = 4  # a slope is taken over twice this many steps,
_WINDOW = 5  # and compared with the mean normal of a window this many steps wide: beyond hair and pores


@dataclass(frozen=True)
class Evidence:
    """What was seen in one sample whose odd pixels are masked; shares are of the pixels with a depth where nothing else
    is said; None where a sample lacks the fields that tell.

    follows: (3, 3) float32, of each stored component (rows: X, Y, Z) the share of pixels on which it has the sign that
    a right X, Y or Z (columns) has there: that of dz/dx, that of -dz/dy (rows run downwards), positive; of the steeper
    half of the slopes, and NaN where too few pixels tell
    at_extreme: share with exactly the largest, or exactly the smallest depth, as a background that was not taken out
    nearest_m, median_m, farthest_m: of its depth
    size_m: root of the area that a plane at the median depth has behind the valid pixels; None without intrinsics too
    depth_usable: share of the source's pixels with a depth whose depth is one; normals_usable: share with a normal
    alpha_most: the largest alpha
    valid_share: of all pixels; alpha_beyond_valid: of all pixels, with alpha above 0 where depth is background
    """

    follows: np.ndarray
    valid_share: float | None = None
    nearest_m: float | None = None
    median_m: float | None = None
    farthest_m: float | None = None
    at_extreme: float | None = None
    depth_usable: float | None = None
    normals_usable: float | None = None
    size_m: float | None = None
    alpha_covers_valid: float | None = None
    alpha_beyond_valid: float | None = None
    alpha_most: int | None = None

    @property
    def normals_x_agrees(self) -> float | None:
        """Share of the steeper half of the surface on which the sign of X follows dz/dx; None: too few pixels."""
        return _known(self.follows[0, 0])

    @property
    def normals_y_agrees(self) -> float | None:
        """As for X, of Y and -dz/dy."""
        return _known(self.follows[1, 1])

    @property
    def normals_face_camera(self) -> float | None:
        """Share of the normals with Z > 0; None where there are none."""
        return _known(self.follows[2, 2])


def _known(share: np.float32) -> float | None:
    return None if np.isnan(share) else float(share)


def _median(values: np.ndarray) -> float:
    """Of every n-th value, so that about `_ENOUGH` are looked at."""
    return float(np.median(values[:: max(1, values.size // _ENOUGH)]))


def _signs(smooth: list[np.ndarray], depth: np.ndarray, valid: np.ndarray, axis: int) -> list[float] | None:
    """Share of pixels, for each component in `smooth`, with the sign of the depth's slope along `axis`.

    Taken where the whole reach is valid, on the steeper half of the slopes less the jumps from one body part to
    another (over three times the median); None where that is on too few pixels."""
    ahead, behind, middle = ([slice(None)] * 2 for _ in range(3))
    ahead[axis], behind[axis] = slice(2 * _REACH, None), slice(None, -2 * _REACH)
    middle[axis] = slice(_REACH, -_REACH)
    inside = np.zeros_like(valid)
    inside[*middle] = valid[*ahead] & valid[*behind] & valid[*middle]
    places = np.flatnonzero(inside)
    if places.size < LEAST_PIXELS:
        return None
    places = places[:: max(1, places.size // _ENOUGH_SLOPES)]
    flat, away = depth.ravel(), _REACH * depth.strides[axis] // depth.itemsize
    slope = flat[places + away] - flat[places - away]
    steepness = np.abs(slope)
    median = _median(steepness)
    taken = (steepness >= median) & (steepness <= 3 * median) & (slope != 0)
    places, rising = places[taken], slope[taken] > 0
    if places.size < LEAST_PIXELS:
        return None
    return [np.count_nonzero((one.ravel()[places] > 0) == rising) / places.size for one in smooth]


def examine(sample: Sample, fields: Fields) -> tuple[Sample, PixelCounts, Evidence]:
    """A sample without its odd pixels, what those were, and what is seen in the rest.

    Raises BadSample, with what was found, where nothing is left of a field that makes sense."""
    where = f"sample {sample.key}"
    depth_valid = sample.masks.get("depth")
    if depth_valid is not None and not depth_valid.any():
        raise BadSample(where, f"none of its {depth_valid.size:,} pixels has a depth: all are said to have none")
    masked, counts = clean(sample, fields)
    odd = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.as_json().items() if count and name != "valid"
    )
    if depth_valid is not None and not masked.depth_valid.any():
        raise BadSample(where, f"none of its {counts.valid:,} pixels with a depth has one that makes sense: {odd}")
    if "normals" in sample.values and not masked.normals_valid.any():
        candidates = sample.normals_valid
        if bounded(fields):
            candidates = candidates & masked.depth_valid
        lengths = np.linalg.norm(sample.normals[candidates], axis=-1)
        median = f"; the median length is {np.nanmedian(lengths):.3g}" if lengths.size else ""
        raise BadSample(
            where,
            f"none of its {counts.valid:,} pixels with a {'depth' if bounded(fields) else 'normal'} has a normal of "
            f"length 1: {odd}{median}",
        )
    return masked, counts, measure(masked, counts.valid)


def measure(sample: Sample, source_pixels: int) -> Evidence:
    """Measure one sample in which odd pixels are masked, and some are not; nothing is judged here.

    source_pixels: that had a depth before any was masked"""
    depth_valid, normals_valid = sample.masks.get("depth"), sample.masks.get("normals")
    seen: dict[str, Any] = {"follows": _follows(sample, depth_valid, normals_valid)}
    if depth_valid is not None:
        depths = sample.value("depth")[depth_valid]
        nearest, farthest, median = depths.min(), depths.max(), _median(depths)
        extremes = max(np.count_nonzero(depths == nearest), np.count_nonzero(depths == farthest))
        seen |= {
            "valid_share": depths.size / depth_valid.size,
            "nearest_m": float(nearest) * sample.step_m,
            "median_m": median * sample.step_m,
            "farthest_m": float(farthest) * sample.step_m,
            "at_extreme": extremes / depths.size,
            "depth_usable": depths.size / source_pixels,
        }
        if sample.intrinsics is not None:
            seen["size_m"] = _size(depths.size, median * sample.step_m, sample.intrinsics)
        if normals_valid is not None:
            seen["normals_usable"] = np.count_nonzero(normals_valid) / depths.size
    if "alpha" in sample.values:
        seen["alpha_most"] = int(sample.alpha.max())
    if "alpha" in sample.values and depth_valid is not None:
        above = sample.alpha > 0
        covered = np.count_nonzero(above & depth_valid)
        seen["alpha_covers_valid"] = covered / np.count_nonzero(depth_valid)
        seen["alpha_beyond_valid"] = (np.count_nonzero(above) - covered) / depth_valid.size
    return Evidence(**seen)


def _follows(sample: Sample, depth_valid: np.ndarray | None, normals_valid: np.ndarray | None) -> np.ndarray:
    """`Evidence.follows`."""
    follows = np.full((3, 3), np.nan, np.float32)
    if normals_valid is None:
        return follows
    told, *normals = (
        np.ascontiguousarray(array[::_STEP_PX, ::_STEP_PX])
        for array in (normals_valid, *np.moveaxis(sample.normals, -1, 0))
    )
    normals = [np.where(told, one, 0) for one in normals]
    if depth_valid is not None:
        depth = np.ascontiguousarray(sample.value("depth")[::_STEP_PX, ::_STEP_PX])
        both = told & depth_valid[::_STEP_PX, ::_STEP_PX]
        smooth = [cv2.blur(one, (_WINDOW, _WINDOW)) for one in normals]
        if (signs := _signs(smooth, depth, both, axis=1)) is not None:
            follows[:, 0] = signs
        if (signs := _signs(smooth, depth, both, axis=0)) is not None:
            follows[:, 1] = 1 - np.array(signs)
    if count := np.count_nonzero(told):
        follows[:, 2] = [np.count_nonzero(one > 0) / count for one in normals]
    return follows


def _size(pixels: int, depth_m: float, intrinsics: np.ndarray) -> float:
    return float(depth_m * np.sqrt(pixels / (intrinsics[0, 0] * intrinsics[1, 1])))
