"""How much depth flickers on a clip whose truth is known, and how far it is from that truth.

T frames, H rows, W columns; depth in metres along the optical axis, NaN where there is none.
"""

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

STILL_M = 1e-5  # a change of the true depth below it is none


class Flicker:
    """Frames in their order, each said and true. What is said is relative: it is laid on the truth by one scale and
    shift for the whole clip, the least squares over all its pixels, before its changes are measured in millimetres."""

    def __init__(self) -> None:
        self._said: list[np.ndarray] = []
        self._true: list[np.ndarray] = []

    def add(self, said: np.ndarray, true: np.ndarray) -> None:
        """(H, W) each."""
        self._said.append(said.astype(np.float32))
        self._true.append(true.astype(np.float32))

    def measured(self) -> dict[str, float]:
        """still_mm: the mean change from frame to frame on pixels whose true depth does not change; abs_rel: with a
        scale and shift for each frame; abs_rel_one: with one for the clip"""
        valid = [np.isfinite(true) for true in self._true]
        line = _line(
            np.concatenate([said[ok] for said, ok in zip(self._said, valid, strict=True)]),
            np.concatenate([true[ok] for true, ok in zip(self._true, valid, strict=True)]),
        )
        own = [_line(said[ok], true[ok]) for said, true, ok in zip(self._said, self._true, valid, strict=True)]
        frames = list(zip(self._said, self._true, valid, strict=True))
        changes = [
            np.abs(line[0] * (now - then)[still])
            for (then, was, _), (now, is_, _) in pairwise(frames)
            if (still := np.abs(is_ - was) < STILL_M).any()
        ]
        return {
            "still_mm": 1e3 * _mean(changes),
            "abs_rel": _mean(_off(said, true, ok, one) for (said, true, ok), one in zip(frames, own, strict=True)),
            "abs_rel_one": _mean(_off(said, true, ok, line) for said, true, ok in frames),
        }


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Scale and shift that bring x onto y by least squares."""
    scale, shift = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
    return float(scale), float(shift)


def _off(said: np.ndarray, true: np.ndarray, valid: np.ndarray, line: tuple[float, float]) -> np.ndarray:
    return np.abs(line[0] * said[valid] + line[1] - true[valid]) / true[valid]


def _mean(parts: Iterable[np.ndarray]) -> float:
    """The mean of the means of parts: each frame counts alike."""
    return float(np.mean([part.mean() for part in parts]))
