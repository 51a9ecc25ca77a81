"""The geometry check: refuses data whose convention is wrong, and says what it saw.

Where a surface recedes to the right its normals point right, where it recedes upwards they point up, and what a
camera sees faces it. So the signs of X and Y follow the depth's gradient, and Z is positive. Real SynthHuman faces
agree on 80 to 95 % of the pixels (hair and skin relief make the rest) and have Z > 0 on 95 to 100 %; a wrong channel
order or sign drops one of the three to 60 % or below.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from david.pack.errors import BadSample
from david.pack.schema import Sample

LEAST_AGREEMENT = 0.65  # of X and of Y with the depth gradient
LEAST_FACING = 0.75  # of the valid pixels with Z > 0
LENGTH_TOLERANCE = 0.01
LEAST_COVERED = 0.99  # of the valid pixels with alpha > 0
MEDIAN_CM = (20.0, 3000.0)  # where people stand in front of a camera
LEAST_PIXELS = 200  # below this, signs prove nothing
_ENOUGH = 2048  # values for a median
_STEP_PX = 2  # signs are compared on every second row and column;
_REACH = 4  # a slope is taken over twice this many steps,
_WINDOW = 5  # and compared with the mean normal of a window this many steps wide: beyond hair and pores


@dataclass(frozen=True)
class Geometry:
    """What was seen in one sample; shares are of the valid pixels, lengths unitless.

    normals_x_agrees, normals_y_agrees: share of the steeper half of the surface on which the sign of X follows dz/dx,
    and of Y follows -dz/dy (rows run downwards); None where too few pixels tell
    """

    valid_share: float
    nearest_cm: float
    median_cm: float
    farthest_cm: float
    normals_x_agrees: float | None
    normals_y_agrees: float | None
    normals_face_camera: float
    normals_worst_length: float
    alpha_covers_valid: float
    alpha_beyond_valid: float


def _median(values: np.ndarray) -> float:
    """Of every n-th value, so that about `_ENOUGH` are looked at."""
    return float(np.median(values[:: max(1, values.size // _ENOUGH)]))


def _agreement(component: np.ndarray, depth: np.ndarray, valid: np.ndarray, axis: int) -> float | None:
    """Share of pixels on which `component`, averaged over a window, has the sign of the depth's slope along `axis`.

    Taken where the whole reach is valid, on the steeper half of the slopes less the jumps from one body part to
    another (over three times the median)."""
    ahead, behind, middle = ([slice(None)] * 2 for _ in range(3))
    ahead[axis], behind[axis] = slice(2 * _REACH, None), slice(None, -2 * _REACH)
    middle[axis] = slice(_REACH, -_REACH)
    inside = valid[*ahead] & valid[*behind] & valid[*middle]
    if np.count_nonzero(inside) < LEAST_PIXELS:
        return None
    slope = (depth[*ahead] - depth[*behind])[inside]
    smooth = cv2.blur(np.where(valid, component, 0), (_WINDOW, _WINDOW))[*middle][inside]
    steepness = np.abs(slope)
    median = _median(steepness)
    taken = (steepness >= median) & (steepness <= 3 * median) & (slope != 0)
    count = np.count_nonzero(taken)
    if count < LEAST_PIXELS:
        return None
    return np.count_nonzero(taken & (smooth * slope > 0)) / count


def measure(sample: Sample) -> Geometry:
    """Measure one sample that has a valid pixel; nothing is judged here, and what is not finite stays so."""
    valid, depth = sample.valid, sample.depth_cm
    x, y, z = np.moveaxis(sample.normals, -1, 0)
    coarse = [np.ascontiguousarray(array[::_STEP_PX, ::_STEP_PX]) for array in (x, y, depth, valid)]
    coarse_x, coarse_y, coarse_depth, coarse_valid = coarse
    depths = depth[valid]
    squares = (x * x + y * y + z * z)[valid]
    shortest, longest = np.sqrt(squares.min()), np.sqrt(squares.max())
    above = sample.alpha > 0
    covered = np.count_nonzero(above & valid)
    return Geometry(
        valid_share=depths.size / valid.size,
        nearest_cm=float(depths.min()),
        median_cm=_median(depths),
        farthest_cm=float(depths.max()),
        normals_x_agrees=_agreement(coarse_x, coarse_depth, coarse_valid, axis=1),
        normals_y_agrees=_agreement(-coarse_y, coarse_depth, coarse_valid, axis=0),
        normals_face_camera=float(np.count_nonzero((z > 0) & valid) / depths.size),
        normals_worst_length=float(shortest if 1 - shortest > longest - 1 else longest),
        alpha_covers_valid=float(covered / depths.size),
        alpha_beyond_valid=float((np.count_nonzero(above) - covered) / valid.size),
    )


def _holes(sample: Sample) -> str:
    """What is wrong with the values themselves where the sample is valid; empty where they are usable."""
    depths, normals = sample.depth_cm[sample.valid], sample.normals[sample.valid]
    no_depth = np.count_nonzero(~np.isfinite(depths) | (depths <= 0))
    if no_depth:
        return f"{no_depth} depth pixels are neither positive and finite nor the background 65504"
    no_normal = np.count_nonzero(~np.isfinite(normals).all(-1))
    return f"{no_normal} normals are not finite where depth is valid" if no_normal else ""


def check(sample: Sample) -> Geometry:
    """Measure one sample and judge it. Raises BadSample with all that was seen where a convention is broken."""
    where = f"sample {sample.key}"
    if not sample.valid.any():
        raise BadSample(where, "no pixel has a valid depth")
    if sample.valid.all():
        highest = sample.depth_cm.max()
        raise BadSample(
            where,
            f"no pixel has the background depth 65504; the largest is {highest:.6g}: is it in cm, unchanged?",
        )
    with np.errstate(invalid="ignore", over="ignore"):
        seen = measure(sample)
    if not (np.isfinite([seen.farthest_cm, seen.normals_worst_length]).all() and seen.nearest_cm > 0):
        raise BadSample(where, _holes(sample))
    faults = []
    if not MEDIAN_CM[0] <= seen.median_cm <= MEDIAN_CM[1]:
        least, most = MEDIAN_CM
        faults.append(
            f"median depth {seen.median_cm:.4g}, expected {least:g} to {most:g} cm: another unit, such as metres?"
        )
    if abs(seen.normals_worst_length - 1) > LENGTH_TOLERANCE:
        faults.append(f"a normal of length {seen.normals_worst_length:.3f}, expected 1")
    shares = (
        ("the sign of normals' X follows the depth gradient", seen.normals_x_agrees, LEAST_AGREEMENT),
        ("the sign of normals' Y follows the depth gradient", seen.normals_y_agrees, LEAST_AGREEMENT),
        ("normals' Z points to the camera", seen.normals_face_camera, LEAST_FACING),
        ("alpha is above 0", seen.alpha_covers_valid, LEAST_COVERED),
    )
    faults += [
        f"{what} on {share:.0%} of the pixels, expected {least:.0%} or more"
        for what, share, least in shares
        if share is not None and share < least
    ]
    if faults:
        raise BadSample(
            where, "; ".join(faults) + " (normals: X right, Y up, Z towards the camera, in channels B, G, R)"
        )
    return seen
