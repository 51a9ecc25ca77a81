"""A field's values to planes of bytes and back, one pair of functions for each coding of `schema.CODINGS`.

Legend: H rows, W columns, P planes of (H, W) uint8.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from david.pack.errors import DavidError
from david.pack.shards import codecs

MOST_STEPS = 65_534  # of u16-linear; 0 is unknown, 65535 sky
SKY_STEPS = 65_535
Range = dict[str, float]  # what the JSON member tells of a field, see `schema.py`; empty where nothing


class Planes(NamedTuple):
    """planes: (P, H, W) uint8, None where no pixel means anything; range: for the JSON member."""

    planes: np.ndarray | None
    range: Range


class Values(NamedTuple):
    """As `sample.Sample` has them: lengths in metres."""

    value: np.ndarray
    mask: np.ndarray


def _split_u8(value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    if not mask.all():
        raise DavidError("a field coded as u8 is valid everywhere, but its mask has holes")
    return Planes(value[None], {})


def _join_u8(planes: np.ndarray, about: Range) -> Values:
    return Values(planes[0], np.ones(planes.shape[1:], bool))


def _split_f16(value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    if mask.any():
        relative, offset, scale = codecs.normalise_depth(value, mask)
    elif np.isposinf(value).any():
        relative = np.where(np.isposinf(value), np.float16(np.inf), np.float16(np.nan))
        offset, scale = 0.0, 1.0
    else:
        return Planes(None, {})
    return Planes(codecs.split_depth(relative), {"offset_m": offset * step_m, "scale_m": scale * step_m})


def _join_f16(planes: np.ndarray, about: Range) -> Values:
    relative = codecs.join_depth(planes)
    metres = relative.astype(np.float64) * about["scale_m"] + about["offset_m"]
    # rounded once: within a 4,000th of the range, however small that is
    return Values(metres.astype(np.float32), np.isfinite(relative))


def _split_relative(value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    if not mask.any():
        return Planes(None, {})
    relative, offset, scale = codecs.normalise_depth(value, mask)
    return Planes(codecs.split_depth(relative), {"offset": offset, "scale": scale})


def _join_relative(planes: np.ndarray, about: Range) -> Values:
    relative = codecs.join_depth(planes)
    value = relative.astype(np.float32) * np.float32(about["scale"]) + np.float32(about["offset"])
    return Values(value, np.isfinite(relative))


def _split_u16(value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    sky = (value == np.inf) & ~mask
    if not mask.any() and not sky.any():
        return Planes(None, {})
    steps = np.rint(np.where(mask, value, 0))
    known = steps[mask]
    least, most = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if known.size and not (least >= 1 and most <= MOST_STEPS):
        raise DavidError(f"steps from {least:g} to {most:g} of a field coded as u16-linear, expected 1 to {MOST_STEPS}")
    steps[sky] = SKY_STEPS
    middle, half = (most + least) / 2, (most - least) / 2 or 1.0
    about = {"offset_m": middle * step_m, "scale_m": half * step_m, "step_m": step_m}
    return Planes(codecs.split_u16(steps.astype(np.uint16)), about)


def _join_u16(planes: np.ndarray, about: Range) -> Values:
    steps = codecs.join_u16(planes)
    mask = (steps != 0) & (steps != SKY_STEPS)
    metres = (steps * about["step_m"]).astype(np.float32)
    metres[steps == 0], metres[steps == SKY_STEPS] = np.nan, np.inf
    return Values(metres, mask)


def _split_vectors(value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    return Planes(codecs.split_normals(value, mask) if mask.any() else None, {})


def _join_vectors(planes: np.ndarray, about: Range) -> Values:
    return Values(codecs.join_normals(planes), codecs.known_normals(planes))


_SPLIT: dict[str, Callable[[np.ndarray, np.ndarray, float], Planes]] = {
    "u8": _split_u8,
    "f16-affine": _split_f16,
    "f16-relative": _split_relative,
    "u16-linear": _split_u16,
    "octahedral-12": _split_vectors,
}
_JOIN: dict[str, Callable[[np.ndarray, Range], Values]] = {
    "u8": _join_u8,
    "f16-affine": _join_f16,
    "f16-relative": _join_relative,
    "u16-linear": _join_u16,
    "octahedral-12": _join_vectors,
}


def split(coding: str, value: np.ndarray, mask: np.ndarray, step_m: float) -> Planes:
    """A field as planes. Arguments as in `sample.Sample`. Raises DavidError where this coding can't hold them."""
    return _SPLIT[coding](value, mask, step_m)


def join(coding: str, planes: np.ndarray, about: Range) -> Values:
    """The inverse of `split` within the coding's precision; lengths come in metres. Raises KeyError where `about`
    lacks what the coding needs."""
    return _JOIN[coding](planes, about)


def nothing(coding: str, height: int, width: int) -> Values:
    """A field that a sample lacks: valid nowhere."""
    mask = np.zeros((height, width), bool)
    if coding == "u8":
        return Values(np.zeros((height, width), np.uint8), mask)
    if coding == "octahedral-12":
        return Values(np.zeros((height, width, 3), np.float32), mask)
    return Values(np.full((height, width), np.nan, np.float32), mask)
