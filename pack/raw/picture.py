"""Anybody's pictures held in memory: PNG of any kind, upright JPEG, EXR and NPY. What a file declares is checked before
a decoder allocates anything for it.

Legend: H rows, W columns.
"""

import io
from pathlib import PurePosixPath

import cv2
import numpy as np

from david.pack.errors import BadSample
from david.pack.raw import exr, jpeg, png
from david.pack.raw.archive import Member, require_pixels

PICTURES = (".png", ".jpg", ".jpeg")
ARRAYS = (".exr", ".npy")  # of floats


def suffix(member: Member) -> str:
    return PurePosixPath(member.name).suffix.lower()


def rgb(member: Member, data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W, 3) uint8 sRGB; grey and palettes become RGB, 16 bits become 8, and transparency is left out.

    Raises BadSample where it is no PNG or JPEG, or of more than `max_pixels`."""
    if _is_jpeg(member, data):
        return jpeg.decode(member, data, max_pixels)
    return png.decode_any(member, data, cv2.IMREAD_COLOR_RGB, max_pixels)


def grey(member: Member, data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W) uint8: a grey picture, or the transparency of one that has it. Raises BadSample as `rgb` does."""
    if _is_jpeg(member, data):
        return jpeg.decode(member, data, max_pixels, grey=True)
    pixels = png.decode_any(member, data, cv2.IMREAD_UNCHANGED, max_pixels)
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return np.round(pixels / 257).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _is_jpeg(member: Member, data: bytes) -> bool:
    """Whether it is a JPEG, not a PNG. Raises BadSample where it begins as neither."""
    if not data.startswith((jpeg.SIGNATURE, png.SIGNATURE)):
        raise BadSample(member.where, f"no PNG or JPEG, the pictures that can be read: it begins with {data[:8]!r}")
    return data.startswith(jpeg.SIGNATURE)


def steps(member: Member, data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W) uint8 or uint16 as stored in a grey PNG. Raises BadSample where it is none."""
    pixels = png.decode_any(member, data, cv2.IMREAD_UNCHANGED, max_pixels)
    if pixels.ndim != 2:
        raise BadSample(member.where, f"expected a grey PNG of whole steps, found {pixels.shape[2]} channels")
    return pixels


def colours(member: Member, data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W, 3) float32 in 0 .. 1 of an RGB PNG of 8 or 16 bits. Raises BadSample where it is none."""
    pixels = png.decode_any(member, data, cv2.IMREAD_UNCHANGED, max_pixels)
    if pixels.ndim != 3:
        raise BadSample(member.where, "expected an RGB PNG, found a grey one")
    return (pixels[..., 2::-1] / np.float32(np.iinfo(pixels.dtype).max)).astype(np.float32)


def floats(member: Member, data: bytes, layers: tuple[tuple[str, ...], ...], max_pixels: int) -> np.ndarray:
    """(H, W, C) float32 of an EXR that has one of these sets of C channels, or of an NPY of that shape, (H, W) for one.

    Raises BadSample where it is none."""
    if suffix(member) == ".exr":
        return np.stack(exr.decode_any(member, data, layers, max_pixels), axis=-1)
    count = len(layers[0])
    try:
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = reader[version](file)
        if dtype.kind not in "fiu" or len(shape) not in (2, 3) or (*shape, 1)[2] != count:
            raise ValueError(f"expected numbers of shape (H, W, {count}), found {dtype} of {shape}")
        require_pixels(shape[0], shape[1], max_pixels)
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, KeyError, OSError, SyntaxError, EOFError) as error:
        raise BadSample(member.where, f"no NPY that can be decoded: {error}") from error
    return array.reshape(*shape[:2], count).astype(np.float32)
