"""What one sample shows of its conventions: measured here, judged over many samples in `conventions.py`.

Where a surface recedes to the right its normals point right, where it recedes upwards they point up, and what a
camera sees faces it. So the signs of X and Y follow the depth's slopes, and Z is positive. Real SynthHuman faces
agree on 80 to 95 % of the pixels (hair and skin relief make the rest) and have Z > 0 on 95 to 100 %.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from david.pack.check.pixels import PixelCounts, clean
from david.pack.errors import BadSample
from david.pack.shards.schema import Sample

LEAST_PIXELS = 200  # below this, signs prove nothing
_ENOUGH = 2048  # values for a median,
_ENOUGH_SLOPES = 8192  # and slopes for a share
_STEP_PX = 2  # signs are compared on every second row and column;
_REACH = 4  # a slope is taken over twice this many steps,
_WINDOW = 5  # and compared with the mean normal of a window this many steps wide: beyond hair and pores


@dataclass(frozen=True)
class Geometry:
    """What was seen in one sample whose odd pixels are masked; shares are of the valid pixels where nothing else is
    said.

    follows: (3, 3) float32, of each stored component (rows: X, Y, Z) the share of pixels on which it has the sign that
    a right X, Y or Z (columns) has there: that of dz/dx, that of -dz/dy (rows run downwards), positive; of the steeper
    half of the slopes, and NaN where too few pixels tell
    at_extreme: share with exactly the largest, or exactly the smallest depth, as a background that was not taken out
    size_cm: root of the area that a plane at the median depth has behind the valid pixels; None without intrinsics
    depth_usable: share of the source's pixels with a depth whose depth is one; normals_usable: share with a normal
    alpha_most: the largest alpha
    valid_share: of all pixels; alpha_beyond_valid: of all pixels, with alpha above 0 where depth is background
    """

    follows: np.ndarray
    valid_share: float
    nearest_cm: float
    median_cm: float
    farthest_cm: float
    at_extreme: float
    depth_usable: float
    normals_usable: float
    size_cm: float | None
    alpha_covers_valid: float
    alpha_beyond_valid: float
    alpha_most: int

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


def examine(sample: Sample) -> tuple[Sample, PixelCounts, Geometry]:
    """A sample without its odd pixels, what those were, and what is seen in the rest.

    Raises BadSample, with what was found, where nothing is left that makes sense."""
    where = f"sample {sample.key}"
    if not sample.valid.any():
        raise BadSample(where, f"none of its {sample.valid.size:,} pixels has a depth: all are background (65504)")
    masked, counts = clean(sample)
    odd = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.as_json().items() if count and name != "valid"
    )
    if not masked.valid.any():
        raise BadSample(where, f"none of its {counts.valid:,} pixels with a depth has one that makes sense: {odd}")
    if not masked.normals_valid.any():
        lengths = np.linalg.norm(sample.normals[masked.valid], axis=-1)
        raise BadSample(
            where,
            f"none of its {counts.valid:,} pixels with a depth has a normal of length 1: {odd}; the median length is "
            f"{np.nanmedian(lengths):.3g}",
        )
    return masked, counts, measure(masked, counts.valid)


def measure(sample: Sample, source_pixels: int) -> Geometry:
    """Measure one sample that has a valid pixel and in which odd ones are masked; nothing is judged here.

    source_pixels: that had a depth before any was masked"""
    valid = sample.valid
    depth, told, *normals = (
        np.ascontiguousarray(array[::_STEP_PX, ::_STEP_PX])
        for array in (sample.depth_cm, sample.normals_valid, *np.moveaxis(sample.normals, -1, 0))
    )
    normals = [np.where(told, one, 0) for one in normals]
    smooth = [cv2.blur(one, (_WINDOW, _WINDOW)) for one in normals]
    follows = np.full((3, 3), np.nan, np.float32)
    if (signs := _signs(smooth, depth, told, axis=1)) is not None:
        follows[:, 0] = signs
    if (signs := _signs(smooth, depth, told, axis=0)) is not None:
        follows[:, 1] = 1 - np.array(signs)
    if count := np.count_nonzero(told):
        follows[:, 2] = [np.count_nonzero(one > 0) / count for one in normals]
    depths = sample.depth_cm[valid]
    nearest, farthest, median = depths.min(), depths.max(), _median(depths)
    above = sample.alpha > 0
    covered = np.count_nonzero(above & valid)
    return Geometry(
        follows=follows,
        valid_share=depths.size / valid.size,
        nearest_cm=float(nearest),
        median_cm=median,
        farthest_cm=float(farthest),
        at_extreme=max(np.count_nonzero(depths == nearest), np.count_nonzero(depths == farthest)) / depths.size,
        depth_usable=depths.size / source_pixels,
        normals_usable=np.count_nonzero(sample.normals_valid) / depths.size,
        size_cm=None if sample.intrinsics is None else _size(depths.size, median, sample.intrinsics),
        alpha_covers_valid=covered / depths.size,
        alpha_beyond_valid=(np.count_nonzero(above) - covered) / valid.size,
        alpha_most=int(sample.alpha.max()),
    )


def _size(pixels: int, depth_cm: float, intrinsics: np.ndarray) -> float:
    return float(depth_cm * np.sqrt(pixels / (intrinsics[0, 0] * intrinsics[1, 1])))
