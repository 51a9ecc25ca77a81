"""Byte planes on the CPU: from a shard's compressed members to depth, validity and normals (see `pack/schema.py`).

Values are moved about as bytes, mirrored and resized by nearest neighbour, before they are joined to numbers: no value
is mixed with another, so nothing of an invalid pixel reaches a valid one.

Joining is exact up to one square root, one reciprocal, one product and the rounding to float16, each correctly rounded
everywhere: octahedral coordinates stay integers (in units of 1 / 2047), whose squares add up to less than 2**24. So
this module, its counterpart for devices (`planes_on_device.py`) and any other IEEE arithmetic give the same bits.

Legend: P planes, H rows, W columns of the batch, h, w of a sample.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from david.pack import codecs
from david.pack.errors import BadSample, DavidError
from david.pack.schema import PLANES, Compression
from david.pipeline.reader import Encoded

COUNT = sum(PLANES.values())  # alpha's, depth's, normals': in the schema's order
CENTRE = 2047  # the octahedral code of 0, and the unit
MAGNITUDE, INFINITY, SIGN = 0x7FFF, 0x7C00, -0x8000  # of float16 bits as int16; a magnitude above infinity's is NaN
_BAND = 65_536  # pixels joined at a time: more leave the cache, fewer cost more in calls than in work
_ROUNDED = 32_767  # values rounded at a time: torch would spread more over threads that are others' already


def inflate(encoded: Encoded, compression: Compression, out: np.ndarray) -> None:
    """Fill (6, h, w) uint8 with the sample's planes. Raises BadSample where its bytes are damaged."""
    start = 0
    for name, count in PLANES.items():
        member, target = encoded.planes[name], out[start : start + count]
        try:
            codecs.decode_planes(member, count, encoded.height, encoded.width, compression, target)
        except DavidError as error:
            raise BadSample(encoded.where, f"{name}: {error}") from error
        start += count


def nearest(source: int, target: int) -> np.ndarray:
    """(target,) int64: the source pixel under the centre of each target pixel."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def warp(planes: np.ndarray, height: int, width: int, flip: bool) -> np.ndarray:
    """(P, h, w) uint8 to (P, height, width), mirrored where `flip`. May return its argument."""
    count, *size = planes.shape
    if size == [height, width]:
        return cv2.flip(planes.reshape(count * height, width), 1).reshape(planes.shape) if flip else planes
    columns = nearest(size[1], width)
    return planes[:, nearest(size[0], height)].take(columns[::-1] if flip else columns, axis=2)


def scratch(width: int) -> np.ndarray:
    """Memory that a thread lends `join` again and again, for batches of a width: (2, 3, rows, W) float32.

    Taken afresh for each sample it would cost three times the arithmetic in page faults."""
    return np.empty((2, 3, _rows(width, _BAND), width), np.float32)


def join(
    planes: np.ndarray, flip: bool, depth: np.ndarray, valid: np.ndarray, normals: np.ndarray, scratch: np.ndarray
) -> None:
    """Fill depth (H, W) float16, valid (H, W) bool and normals (3, H, W) float16; depth and normals 0 where invalid.

    planes: (5, H, W) uint8, two of depth and three of normals; flip: negate X, as a mirrored image needs it"""
    for band in _bands(_BAND, *depth.shape):
        lent = scratch[:, :, : band.stop - band.start]
        _join(planes[:, band], flip, depth[band], valid[band], normals[:, band], lent)


def _join(
    planes: np.ndarray, flip: bool, depth: np.ndarray, valid: np.ndarray, normals: np.ndarray, scratch: np.ndarray
) -> None:
    high, low, tops, u, v = planes
    bits = _words(high, low)
    np.less_equal(bits & MAGNITUDE, INFINITY, out=valid)
    np.multiply(bits, valid, out=depth.view(np.int16))

    x, y = _words(tops >> 4, u) - np.int16(CENTRE), _words(tops & 15, v) - np.int16(CENTRE)
    absolute_x, absolute_y = np.abs(x), np.abs(y)
    z = CENTRE - absolute_x - absolute_y
    fold = (z - np.abs(z)) >> 1  # min(z, 0)
    vectors, squares = scratch
    np.add(absolute_x, fold, out=vectors[0])
    np.add(absolute_y, fold, out=vectors[1])
    np.copyto(vectors[2], z)
    np.multiply(vectors, vectors, out=squares)
    length = squares[0]
    length += squares[1]
    length += squares[2]
    scale = np.divide(valid, cv2.sqrt(length, dst=length), out=length)
    vectors *= scale
    _round(vectors, normals)
    signs = normals.view(np.int16)
    signs[0] |= (~x if flip else x) & SIGN
    signs[1] |= y & SIGN


def _round(values: np.ndarray, out: np.ndarray) -> None:
    """(C, H, W) float32 to float16; NumPy would take forty times as long as torch."""
    for component in range(len(values)):
        for band in _bands(_ROUNDED, *values.shape[1:]):
            torch.from_numpy(out[component, band]).copy_(torch.from_numpy(values[component, band]))


def _rows(width: int, pixels: int) -> int:
    return max(1, pixels // width)


def _bands(pixels: int, height: int, width: int) -> Iterator[slice]:
    """Slices of rows that hold so many pixels each, or one row."""
    rows = _rows(width, pixels)
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def _words(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """High and low bytes (H, W) uint8 to (H, W) int16."""
    return cv2.merge([low, high]).view(np.int16)[..., 0]
