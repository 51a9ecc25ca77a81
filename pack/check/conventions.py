"""Are a data set's axes, signs, order, unit and background as expected? Judged over many samples, never by one.

Close-ups without background, bald backs, hair over everything and odd poses pass: single samples prove nothing. A
convention is broken where most samples say so, and what they say then tells what the data probably is. A source lists
the conventions that it promises, as values; what no sample tells of is not judged. A user whose data is unusual indeed
accepts a convention's faults by its name.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from david.pack.check.evidence import Evidence
from david.pack.errors import DavidError

MANY = 32  # samples from which on a median is trusted; of fewer only a clear contradiction counts
LEAST_SHARE = 0.6  # of the surface on which X, and Y, follow the depth's slopes; of many samples' median
LEAST_FACING = 0.6  # of the normals with Z > 0; likewise
CLEARLY_BETTER = 0.12  # by so much another order or sign fits better, on three components' mean
MOST_STRANGE = 0.02  # of the pixels with a depth that is none, or that is exactly the largest
MOST_STRANGE_OF_FEW = 0.2
LEAST_USABLE = 0.5  # of the normals
LEAST_COVERED = 0.9  # of the valid pixels with alpha above 0
LEAST_COVERED_OF_FEW = 0.5
LEAST_ALPHA = 128  # that the most opaque pixel of a sample has


class Convention(Protocol):
    """What a source promises of its samples. name: by which its faults are accepted, its field's; expected: in words"""

    name: ClassVar[str]

    @property
    def expected(self) -> str: ...

    def faults(self, good: Sequence[Evidence]) -> list[str]:
        """What is wrong with these samples, as sentences with what was seen; none: they are as expected, or too few
        tell."""
        ...

    def doubts(self, good: Sequence[Evidence]) -> list[str]:
        """What may be wrong though it is nothing to refuse, as sentences."""
        return []


@dataclass(frozen=True)
class Seen:
    """One sample that was looked at. archive: that holds it; evidence: None where it is bad by itself, for `reason`."""

    archive: Path
    evidence: Evidence | None
    reason: str = ""


@dataclass(frozen=True)
class Fault:
    """convention: the name of the one that is broken, "" where samples are of no use under any; told: a sentence with
    what was seen."""

    convention: str
    told: str


def to_accept(names: str | Iterable[str], conventions: Sequence[Convention], source: str) -> tuple[str, ...]:
    """The names of conventions whose faults are accepted, each once. Raises DavidError where that source has none of
    such a name."""
    names = dict.fromkeys([names] if isinstance(names, str) else names)
    known = list(dict.fromkeys(one.name for one in conventions))
    for name in names:
        if name not in known:
            can = f"can only be {', '.join(known)}, conventions of {source}"
            raise DavidError(f"--accept is `{name}`, but {can if known else f'{source} has no conventions'}")
    return tuple(names)


def faults(seen: Sequence[Seen], conventions: Sequence[Convention]) -> list[Fault]:
    """What is wrong with the conventions of these samples; none: they are as expected, or too few tell."""
    good = [one.evidence for one in seen if one.evidence]
    found = []
    if len(seen) - len(good) > max(len(seen) / 2, 3):
        reason, times = Counter(one.reason for one in seen if one.reason).most_common(1)[0]
        found.append(Fault("", f"{len(seen) - len(good)} samples make no sense, {times} of them so: {reason}"))
    if not good:
        return found
    return found + [Fault(one.name, told) for one in conventions for told in one.faults(good)]


def doubts(seen: Sequence[Seen], conventions: Sequence[Convention]) -> list[str]:
    """What may be wrong though it is nothing to refuse, as sentences."""
    good = [one.evidence for one in seen if one.evidence]
    return [doubt for convention in conventions for doubt in convention.doubts(good)]


_ORDERS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]
_EXPECTED = _ORDERS.index(((0, 1, 2), (1, 1, 1)))
_NAMES: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {
    ((0, 1, 2), (-1, -1, -1)): "all normals are negated",
    ((0, 1, 2), (-1, 1, 1)): "normals' X points left",
    ((0, 1, 2), (1, -1, 1)): "normals' Y points down",
    ((0, 1, 2), (1, 1, -1)): "normals' Z points away from the camera",
    ((0, 1, 2), (1, -1, -1)): "normals' Y points down and Z away from the camera, as OpenCV has it",
    ((0, 1, 2), (-1, -1, 1)): "depth grows towards the camera, or normals' X and Y are negated",
    ((2, 1, 0), (1, 1, 1)): "normals' X and Z, channels {x} and {z}, are exchanged",
}


def _fits(follows: np.ndarray) -> np.ndarray:
    """(samples, 3, 3) of `Evidence.follows` to (samples, orders): the mean share of the surface on which the three
    components have the signs that this order gives them; what is not known counts a half."""
    axes, signs = (np.array(part) for part in zip(*_ORDERS, strict=True))
    known = np.nan_to_num(follows, nan=0.5)[:, np.arange(3), axes]
    return (0.5 + signs * (known - 0.5)).mean(-1)


@dataclass(frozen=True)
class CameraNormals(Convention):
    """Unit normals in the camera's frame, X right, Y up, Z towards the camera, that fit the depth.

    channels: of the file, which hold X, Y and Z; option: of the command line, that says which axes they are"""

    name = "normals"

    channels: tuple[str, str, str] = ("R", "G", "B")
    option: str = ""

    @property
    def expected(self) -> str:
        return f"unit normals, X right, Y up, Z towards the camera, in channels {', '.join(self.channels)}"

    def faults(self, good: Sequence[Evidence]) -> list[str]:
        follows = np.array([one.follows for one in good])
        if np.isnan(follows[:, 2, 2]).all():
            return []
        fits = _fits(follows)
        better = np.median(fits - fits[:, [_EXPECTED]], axis=0)
        best = int(better.argmax())
        x, y, z = (_middle(follows[:, axis, axis]) for axis in range(3))
        shares = ["an unknown share" if np.isnan(one) else f"{one:.0%}" for one in (x, y, z)]
        told = (
            f"X has the sign of the depth's slope on {shares[0]} of the surface, Y on {shares[1]}, and Z points to the "
            f"camera on {shares[2]} (medians; expected {LEAST_SHARE:.0%}, {LEAST_SHARE:.0%} and {LEAST_FACING:.0%} or "
            "more)" + (f"; is {self.option} right?" if self.option else "")
        )
        found = []
        if better[best] > CLEARLY_BETTER:
            found.append(f"it seems that {self._name(best)}: {told}")
        elif len(good) >= MANY and (min(x, y) < LEAST_SHARE or z < LEAST_FACING):
            found.append(f"no order or sign of the normals' channels fits; are they in the camera's frame? {told}")
        usable = _middle([one.normals_usable for one in good])
        if usable < LEAST_USABLE:
            found.append(f"{usable:.0%} of the normals are of unit length (median): are they scaled, or not vectors?")
        return found

    def _name(self, order: int) -> str:
        axes, signs = _ORDERS[order]
        held = ", ".join(("" if sign > 0 else "-") + "XYZ"[axis] for axis, sign in zip(axes, signs, strict=True))
        named = _NAMES.get(_ORDERS[order], f"channels {', '.join(self.channels)} hold {held} instead of X, Y, Z")
        return named.format(x=self.channels[0], z=self.channels[2])


# by the unit that is promised, what numbers that are too small, and too large, may be in
_OTHER_UNITS = {
    "metres": ("kilometres", "centimetres or mm"),
    "cm": ("metres", "millimetres"),
    "millimetres": ("centimetres or metres", "finer steps than millimetres"),
    "256ths of a metre": ("metres", "finer steps"),
    "65535ths of 50 metres": ("mm or metres", "finer steps"),
}


@dataclass(frozen=True)
class PlausibleDepth(Convention):
    """Depth in metres that can be: its unit, and that what has none is marked.

    median_m: between which the samples' median depths lie; surely_m: likewise, where few samples tell; size_m: of what
    is seen, by depth and focal length; deepest_m: from a sample's nearest pixel to the farthest; each None: any.
    option: of the command line, that says what a step is; likely_m: the medians' range beyond which it is asked about
    invalid: how what has no depth is marked, in words; unit: of the stored numbers, one of `_OTHER_UNITS`; smooth: that
    hardly a pixel has just the largest or the smallest depth, which tells of a background that was not taken out"""

    name = "depth"

    median_m: tuple[float, float]
    surely_m: tuple[float, float]
    invalid: str
    size_m: tuple[float, float] | None = None
    deepest_m: float | None = None
    unit: str = "metres"
    smooth: bool = True
    option: str = ""
    likely_m: tuple[float, float] | None = None

    @property
    def expected(self) -> str:
        return f"depth in {self.unit}, {self.invalid} where there is none"

    def faults(self, good: Sequence[Evidence]) -> list[str]:
        good = [one for one in good if one.median_m is not None]
        many = len(good) >= MANY
        middle = _middle([one.median_m for one in good])
        depth = _middle([(one.farthest_m or 0) - (one.nearest_m or 0) for one in good])
        size = _middle([one.size_m for one in good])
        found = []
        least, most = self.median_m if many else self.surely_m
        told = f"depth is {middle:.4g} m (median of the samples' medians), expected {least:g} to {most:g}"
        smaller, larger = _OTHER_UNITS[self.unit]
        if middle < least or middle > most:
            asked = f"in {smaller}, or inverse" if middle < least else f"in {larger}"
            found.append(
                f"{told}: is {self.option}, metres a step, right?" if self.option else f"{told}: is it {asked}?"
            )
        elif self.size_m and (size < self.size_m[0] or size > self.size_m[1]):
            found.append(
                f"what is seen would be {size:.4g} m in size by depth and focal length (median), expected "
                f"{self.size_m[0]:g} to {self.size_m[1]:g}: is depth in {smaller if size < self.size_m[0] else larger}?"
            )
        elif self.deepest_m and depth > self.deepest_m:
            found.append(
                f"samples are {depth:.4g} m deep (median), expected {self.deepest_m:g} at most: is depth in {larger}?"
            )
        limit = MOST_STRANGE if many else MOST_STRANGE_OF_FEW
        strange = _middle([max(1 - (one.depth_usable or 0), (one.at_extreme or 0) * self.smooth) for one in good])
        if strange > limit:
            found.append(
                f"{strange:.0%} of the pixels with a depth (median) have one that is not finite and positive, lies far "
                f"out, or is exactly the largest or smallest, expected {limit:.0%} at most: is the background not "
                f"{self.invalid}?"
            )
        return found

    def doubts(self, good: Sequence[Evidence]) -> list[str]:
        middle = _middle([one.median_m for one in good])
        least, most = self.likely_m or (middle, middle)
        if not (middle < least or middle > most):
            return []
        return [f"depth is {middle:.4g} m (median of the samples' medians): is {self.option}, metres a step, right?"]


@dataclass(frozen=True)
class ForegroundAlpha(Convention):
    """Alpha of 0 .. 255 that covers what has a depth."""

    name = "alpha"

    @property
    def expected(self) -> str:
        return "alpha from 0 to 255"

    def faults(self, good: Sequence[Evidence]) -> list[str]:
        found = []
        least = LEAST_COVERED if len(good) >= MANY else LEAST_COVERED_OF_FEW
        covered, beyond = (
            _middle([getattr(one, f"alpha_{name}_valid") for one in good]) for name in ("covers", "beyond")
        )
        if covered < least:
            found.append(
                f"alpha is above 0 on {covered:.0%} of the pixels with a depth, expected {least:.0%} or more, and on "
                f"{beyond:.0%} of all pixels without one (medians): is it inverted, or another picture's?"
            )
        highest = _middle([one.alpha_most for one in good])
        if highest < LEAST_ALPHA and not covered < least:
            found.append(f"alpha reaches {highest:.0f} (median of the samples' largest), expected 255: another scale?")
        return found


def _middle(values: Sequence[float | None] | np.ndarray) -> float:
    """The median of those that are known; NaN, with which nothing is refused, where none is."""
    known = np.array([np.nan if one is None else one for one in values], np.float64)
    known = known[~np.isnan(known)]
    return float(np.median(known)) if known.size else float("nan")
