"""`--steady`: what a network says of a video's frames, one by one, brought to one scale and freed of flicker.

A network sees each frame by itself. Noise of the sensor, exposure and compression change what it says from frame to
frame where nothing moves, and relative depth has a scale and a shift of its own in each (metric depth has not, and is
smoothed alone). Three things are done, in the
frame as the network sees it, whatever the video's size; frames stream, and one is kept.

**Scale and shift.** Depth of a frame becomes s d + b, the line that lies best on what came out for the frame before,
carried along motion (`motion.py`), over pixels that are person in both and whose motion is believed. Both sides err,
and a fit that blames one of them shrinks depth a little each time, which adds up; so the line is Deming's (1943; the
errors' ratio follows from how far each pixel was smoothed), with Tukey's biweight against outliers (Beaton and Tukey,
Technometrics 1974). Fits from frame to frame drift all the same; so what comes out is drawn back, by dt / `ANCHOR_S`
a frame, to the scale and place that the network itself says on the average over `MEAN_S`: what changes within seconds
comes from the fit, what lasts from the network.

**Range.** A first look at frames all over the sequence gives its centre, its spread and the range that it is drawn in.
The first frame, and one after a cut, is brought to that centre and spread.

**Smoothing.** Along motion each pixel keeps a share of what was said before (Lang et al., SIGGRAPH 2012, filter
predictions so): `KEEP` where nothing moved, less where something did, the less the motion is believed, the faster it
is, and the further the two lie apart in units of how far they usually do; nothing where person meets background anew.
So a new edge or a true change is never smeared over frames.

h rows, w columns: of what the network sees.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from david.model.predict import motion
from david.model.predict.fields import AFFINE, METRIC, depth_of
from david.model.predict.motion import MAD, Motion

ANCHOR_S, MEAN_S = 4.0, 1.0  # seconds; a quarter is what draws back fastest without swinging
KEEP, KEEP_MOVING = 0.95, 0.7  # the share that stays of what was said before, at most: at rest, and in motion
FAST_PX = 12.0  # motion at which a third of that share is left
APART = 4.0  # times the usual distance of two frames' values, at which half of it is left; where nothing moved, twice
FLOOR = {"alpha": 0.01, "normals": 0.02}  # distances that are usual in any case
LEAST = 64  # pixels that a fit needs
CUT = 0.2  # of the person's pixels believed; with less, it is another scene
SAMPLED = 20_000  # pixels at most that a fit looks at
GOES_TOGETHER = 0.5  # the correlation below which two frames' depth tells nothing of a scale


@dataclass(frozen=True)
class Reference:
    """A sequence's depth, as the network says it: centre and spread over the person, and what it is drawn between."""

    centre: float
    spread: float
    low: float
    high: float


Said = Mapping[str, np.ndarray]  # field -> (C, h, w) float32, as `Predictor.infer` gives it


def person(said: Said) -> np.ndarray:
    """(h, w) bool: where alpha is over a half; everywhere without alpha."""
    if "alpha" in said:
        return said["alpha"][0] > 0.5
    return np.ones(next(iter(said.values())).shape[-2:], bool)


def reference(looked_at: Sequence[Said]) -> Reference | None:
    """From what was said of some frames all over a sequence; None where none shows a person with depth.

    The range is that of the frames after each was brought to the common centre and spread, a tenth wider."""
    name = next((found for one in looked_at if (found := depth_of(one))), "")
    seen = [one[name][0][person(one)] for one in looked_at if name in one]
    seen = [depth for depth in seen if len(depth) >= LEAST]
    if not seen:
        return None
    measured = np.array([_centre_spread(depth) for depth in seen])
    centre, spread = (float(one) for one in np.median(measured, axis=0))
    ends = [
        np.quantile(depth, [0.01, 0.99])
        if name == METRIC  # has one scale already
        else (np.quantile(depth, [0.01, 0.99]) - own) / width * spread + centre
        for depth, (own, width) in zip(seen, measured, strict=True)
    ]
    low, high = float(np.min(ends)), float(np.max(ends))
    return Reference(centre, spread, low - 0.05 * (high - low), high + 0.05 * (high - low))


def _centre_spread(depth: np.ndarray) -> tuple[float, float]:
    """The median, and from the 10th to the 90th percentile."""
    low, middle, high = np.quantile(depth, [0.1, 0.5, 0.9])
    return float(middle), max(float(high - low), 1e-6)


class Steady:
    """Frames in their order, each with what was said of it, to what is kept of that. The same frames give the same
    values; where frames begin anew, begin with a new one.

    reference: see above; of the first frame by itself where it is None"""

    def __init__(self, reference: Reference | None = None):
        self.reference = reference
        self._seen: np.ndarray | None = None
        self._said: dict[str, np.ndarray] = {}  # field -> (h, w, C), as it came out
        self._time_s = 0.0
        self._line = (1.0, 0.0)
        self._away = np.zeros(2)  # the mean of how far lines were from what the network says: log scale, and place
        self._noise: np.ndarray  # (h, w): of what came out, its variance as a share of that of what the network says

    def __call__(self, image: np.ndarray, said: Said, time_s: float) -> dict[str, np.ndarray]:
        """image: (h, w, 3) uint8, as the network saw it; time_s: of the frame. Gives the same fields."""
        seen = motion.seen(image)
        new = {name: np.ascontiguousarray(values.transpose(1, 2, 0)) for name, values in said.items()}
        where = person(said)
        if self.reference is None:
            self.reference = reference([said])
        if self._seen is None or self._seen.shape != seen.shape:
            self._begin(new, where)
        else:
            moved = motion.between(seen, self._seen)
            was = moved.before(self._said["alpha"]) > 0.5 if "alpha" in self._said else where
            both = where & was
            if (moved.belief[both] > 0.5).sum() < CUT * max(where.sum(), 1):
                self._begin(new, where)
            else:
                self._follow(new, moved, both, where ^ was, max(time_s - self._time_s, 0.0))
        self._seen, self._said, self._time_s = seen, new, time_s
        return {name: np.ascontiguousarray(values.transpose(2, 0, 1)) for name, values in new.items()}

    def _begin(self, new: dict[str, np.ndarray], where: np.ndarray) -> None:
        """A first frame: its depth to the sequence's centre and spread, nothing smoothed."""
        name = depth_of(new)
        depth = new[name] if name in AFFINE else None
        if depth is not None and self.reference is not None and where.sum() >= LEAST:
            centre, spread = _centre_spread(depth[..., 0][where])
            scale = self.reference.spread / spread
            self._line = scale, self.reference.centre - scale * centre
        if name is not None and depth is not None:
            new[name] = _on(self._line, depth)
        self._noise, self._away = np.ones(where.shape, np.float32), np.zeros(2)

    def _follow(
        self, new: dict[str, np.ndarray], moved: Motion, both: np.ndarray, changed: np.ndarray, span_s: float
    ) -> None:
        noise = moved.before(self._noise)
        self._noise = np.ones_like(noise)
        old = {name: _deep(moved.before(values)) for name, values in self._said.items()}
        affine = found if (found := depth_of(new)) in AFFINE else None
        if affine is not None:
            depth = new[affine][..., 0]
            trusted = np.flatnonzero(both & (moved.belief > 0.5))
            trusted = trusted[:: -(-len(trusted) // SAMPLED) or 1]
            if len(trusted) >= LEAST:
                x, y, weight = (one.ravel()[trusted] for one in (depth, old[affine], moved.belief))
                line = fitted(x, y, weight, float(np.mean(noise.ravel()[trusted])))
                self._line = self._anchored(line or self._line, float(np.median(x)), span_s)
            new[affine] = _on(self._line, new[affine])
        speed = np.exp(-np.linalg.norm(moved.flow, axis=-1) / np.float32(FAST_PX))
        share = np.where(moved.still, np.float32(KEEP), np.float32(KEEP_MOVING)) * moved.belief * speed
        for name, values in new.items():
            keep = share * _alike(values, old[name], moved, both if name != "alpha" else None, FLOOR.get(name, 0.0))
            if name != "alpha":
                keep[changed] = 0
            mixed = values + keep[..., None] * (old[name] - values)
            if name == affine:
                self._noise = keep**2 * noise + (1 - keep) ** 2
            if name == "normals":
                mixed /= np.maximum(np.linalg.norm(mixed, axis=-1, keepdims=True), 1e-6)
            new[name] = mixed

    def _anchored(self, line: tuple[float, float], centre: float, span_s: float) -> tuple[float, float]:
        """The line drawn back; centre: the median of what the network says now. A delay of a pole of its own keeps the
        network's jitter out: one that leaked straight to each frame would let a share of it through."""
        away = np.array([np.log(line[0]), line[0] * centre + line[1] - centre])
        self._away += (1 - np.exp(-span_s / MEAN_S)) * (away - self._away)
        scale, middle = away - (1 - np.exp(-span_s / ANCHOR_S)) * self._away
        return float(np.exp(scale)), float(middle + centre - np.exp(scale) * centre)


def _alike(new: np.ndarray, old: np.ndarray, moved: Motion, both: np.ndarray | None, floor: float) -> np.ndarray:
    """(h, w) float32, 0 .. 1: how far what is said now and what was said before may be the same thing."""
    apart = np.linalg.norm(new - old, axis=-1)
    believed = moved.belief > 0.5 if both is None else (moved.belief > 0.5) & both
    usual = max(MAD * float(np.median(apart[believed])) if believed.any() else 0.0, floor)
    scale = np.where(moved.still, np.float32(2 * APART * usual), np.float32(APART * usual)) + np.float32(1e-9)
    return 1 / (1 + np.minimum(cv2.blur(apart, (5, 5)) / scale, np.float32(1e6)) ** 4)


def fitted(x: np.ndarray, y: np.ndarray, weight: np.ndarray, ratio: float) -> tuple[float, float] | None:
    """Scale and shift that bring x, (n,), onto y: Deming's line, `ratio` being the variance of y's errors over that of
    x's once both are on one scale, reweighted by Tukey's biweight. None where the two do not go together."""
    x, y, base = x.astype(np.float64), y.astype(np.float64), weight.astype(np.float64)
    (middle_x, wide_x), (middle_y, wide_y) = _centre_spread(x), _centre_spread(y)
    line = wide_y / wide_x, middle_y - wide_y / wide_x * middle_x
    for _ in range(6):
        off = np.abs(y - line[0] * x - line[1])
        reach = 4.685 * MAD * np.median(off)
        if reach <= 0:
            break
        now = base * np.clip(1 - (off / reach) ** 2, 0, None) ** 2
        total = now.sum()
        middle_x, middle_y = (now @ x) / total, (now @ y) / total
        of_x, of_y = x - middle_x, y - middle_y
        xx, yy, xy = (now @ (of_x * of_x)) / total, (now @ (of_y * of_y)) / total, (now @ (of_x * of_y)) / total
        if xx <= 0 or xy <= GOES_TOGETHER * np.sqrt(xx * yy):
            return None
        delta = ratio * yy / xx
        gap = yy - delta * xx
        scale = (gap + np.sqrt(gap * gap + 4 * delta * xy * xy)) / (2 * xy)
        line = float(scale), float(middle_y - scale * middle_x)
    return line


def _on(line: tuple[float, float], depth: np.ndarray) -> np.ndarray:
    return np.float32(line[0]) * depth + np.float32(line[1])


def _deep(values: np.ndarray) -> np.ndarray:
    """(h, w, C), where OpenCV drops a single channel."""
    return values[..., None] if values.ndim == 2 else values
