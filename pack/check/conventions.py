"""Are a data set's axes, signs, order, unit and background as expected? Judged over many samples, never by one.

Close-ups without background, bald backs, hair over everything and odd poses pass: single samples prove nothing. A
convention is broken where most samples say so, and what they say then tells what the data probably is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np

from david.pack.check.geometry import Geometry

MANY = 32  # samples from which on a median is trusted; of fewer only a clear contradiction counts
LEAST_SHARE = 0.6  # of the surface on which X, and Y, follow the depth's slopes; of many samples' median
LEAST_FACING = 0.6  # of the normals with Z > 0; likewise
CLEARLY_BETTER = 0.12  # by so much another order or sign fits better, on three components' mean
MEDIAN_CM = (20.0, 3000.0)  # where people stand in front of a camera
SURELY_CM = (5.0, 10_000.0)  # likewise, where few samples tell
SIZE_CM = (3.0, 200.0)  # of what is seen of people, from eyes to groups
DEEPEST_CM = 200.0  # from a person's nearest pixel to the farthest
MOST_STRANGE = 0.02  # of the pixels with a depth that is none, or that is exactly the largest
MOST_STRANGE_OF_FEW = 0.2
LEAST_USABLE = 0.5  # of the normals
LEAST_COVERED = 0.9  # of the valid pixels with alpha above 0
LEAST_COVERED_OF_FEW = 0.5
LEAST_ALPHA = 128  # that the most opaque pixel of a sample has

EXPECTED = (
    "expected: depth in cm, 65504 where there is none; unit normals, X right, Y up, Z towards the camera, in channels "
    "B, G, R; alpha from 0 to 255"
)


@dataclass(frozen=True)
class Seen:
    """One sample that was looked at. archive: that holds it; geometry: None where it is bad by itself, for `reason`."""

    archive: Path
    geometry: Geometry | None
    reason: str = ""


_ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
_EXPECTED = _ORDERS.index(((0, 1, 2), (1, 1, 1)))
_NAMES: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    ((0, 1, 2), (-1, -1, -1)): "all normals are negated",
    ((0, 1, 2), (-1, 1, 1)): "normals' X points left",
    ((0, 1, 2), (1, -1, 1)): "normals' Y points down",
    ((0, 1, 2), (1, 1, -1)): "normals' Z points away from the camera",
    ((0, 1, 2), (1, -1, -1)): "normals' Y points down and Z away from the camera, as OpenCV has it",
    ((0, 1, 2), (-1, -1, 1)): "depth grows towards the camera, or normals' X and Y are negated",
    ((2, 1, 0), (1, 1, 1)): "normals' X and Z, channels B and R, are exchanged",
}


def _name(order: int) -> str:
    axes, signs = _ORDERS[order]
    held = ", ".join(("" if sign > 0 else "-") + "XYZ"[axis] for axis, sign in zip(axes, signs, strict=True))
    return _NAMES.get(_ORDERS[order], f"channels B, G, R hold {held} instead of X, Y, Z")


def _fits(follows: np.ndarray) -> np.ndarray:
    """(samples, 3, 3) of `Geometry.follows` to (samples, orders): the mean share of the surface on which the three
    components have the signs that this order gives them; what is not known counts a half."""
    axes, signs = (np.array(part) for part in zip(*_ORDERS, strict=True))
    known = np.nan_to_num(follows, nan=0.5)[:, np.arange(3), axes]
    return (0.5 + signs * (known - 0.5)).mean(-1)


def faults(seen: Sequence[Seen]) -> list[str]:
    """What is wrong with the conventions of these samples, as sentences with what was seen; none: they are as expected,
    or too few tell."""
    good = [one.geometry for one in seen if one.geometry]
    found = []
    if len(seen) - len(good) > max(len(seen) / 2, 3):
        reason, times = Counter(one.reason for one in seen if one.reason).most_common(1)[0]
        found.append(f"{len(seen) - len(good)} samples make no sense, {times} of them so: {reason}")
    if not good:
        return found
    return found + _axes(good) + _depth(good) + _alpha(good)


def _axes(good: list[Geometry]) -> list[str]:
    follows = np.array([one.follows for one in good])
    fits = _fits(follows)
    better = np.median(fits - fits[:, [_EXPECTED]], axis=0)
    best = int(better.argmax())
    x, y, z = (_middle(follows[:, axis, axis]) for axis in range(3))
    told = (
        f"normals' X has the sign of the depth's slope on {x:.0%} of the surface, Y on {y:.0%}, and Z points to the "
        f"camera on {z:.0%} (medians; expected {LEAST_SHARE:.0%}, {LEAST_SHARE:.0%} and {LEAST_FACING:.0%} or more)"
    )
    found = []
    if better[best] > CLEARLY_BETTER:
        found.append(f"{told}: it seems that {_name(best)}")
    elif len(good) >= MANY and (min(x, y) < LEAST_SHARE or z < LEAST_FACING):
        found.append(f"{told}: no order or sign of their channels fits; are they in the camera's frame?")
    usable = _middle([one.normals_usable for one in good])
    if usable < LEAST_USABLE:
        found.append(f"{usable:.0%} of the normals are of unit length (median): are they scaled, or not vectors?")
    return found


def _depth(good: list[Geometry]) -> list[str]:
    many = len(good) >= MANY
    middle = _middle([one.median_cm for one in good])
    depth = _middle([one.farthest_cm - one.nearest_cm for one in good])
    sizes = [one.size_cm for one in good if one.size_cm is not None]
    size = _middle(sizes) if sizes else None
    found = []
    least, most = MEDIAN_CM if many else SURELY_CM
    told = f"depth is {middle:.4g} cm (median of the samples' medians), expected {least:g} to {most:g}"
    if middle < least:
        found.append(f"{told}: is it in metres, or inverse?")
    elif middle > most:
        found.append(f"{told}: is it in millimetres?")
    elif size is not None and not SIZE_CM[0] <= size <= SIZE_CM[1]:
        found.append(
            f"people would be {size:.4g} cm in size by depth and focal length (median), expected "
            f"{SIZE_CM[0]:g} to {SIZE_CM[1]:g}: is depth in {'metres' if size < SIZE_CM[0] else 'mm'}?"
        )
    elif depth > DEEPEST_CM:
        found.append(f"samples are {depth:.4g} cm deep (median), expected {DEEPEST_CM:g} at most: is depth in mm?")
    limit = MOST_STRANGE if many else MOST_STRANGE_OF_FEW
    strange = _middle([max(1 - one.depth_usable, one.at_extreme) for one in good])
    if strange > limit:
        found.append(
            f"{strange:.0%} of the pixels with a depth (median) have one that is not finite and positive, lies far "
            f"out, or is exactly the largest or smallest, expected {limit:.0%} at most: is the background not 65504?"
        )
    return found


def _alpha(good: list[Geometry]) -> list[str]:
    found = []
    least = LEAST_COVERED if len(good) >= MANY else LEAST_COVERED_OF_FEW
    covered, beyond = (_middle([getattr(one, f"alpha_{name}_valid") for one in good]) for name in ("covers", "beyond"))
    if covered < least:
        found.append(
            f"alpha is above 0 on {covered:.0%} of the pixels with a depth, expected {least:.0%} or more, and on "
            f"{beyond:.0%} of all pixels without one (medians): is it inverted, or another picture's?"
        )
    highest = _middle([one.alpha_most for one in good])
    if highest < LEAST_ALPHA and covered >= least:
        found.append(f"alpha reaches {highest:.0f} (median of the samples' largest), expected 255: another scale?")
    return found


def _middle(values: Sequence[float] | np.ndarray) -> float:
    """The median of those that are known; NaN, with which nothing is refused, where none is."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if known.size else float("nan")
