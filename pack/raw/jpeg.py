"""JPEGs held in memory, upright. What a file declares is checked before its pixels are decoded.

Where a camera was held is told by the tag Orientation of its Exif block (CIPA DC-008, 4.6.4): 1 to 8, one for each way
to lay a picture down.
"""

import struct

import numpy as np
import simplejpeg

from david.pack.errors import BadSample
from david.pack.raw.archive import Member, require_pixels

SIGNATURE = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_EXIF = b"Exif\0\0"
_SHORT = 3
_MOST_TAGS = 512


def size(data: bytes) -> tuple[int, int]:
    """Rows and columns as stored. Raises ValueError where it is no JPEG."""
    try:
        height, width = map(int, simplejpeg.decode_jpeg_header(data)[:2])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"no JPEG: {error}") from error
    return height, width


def decode(member: Member, data: bytes, max_pixels: int, grey: bool = False) -> np.ndarray:
    """(H, W, 3) uint8 RGB, or (H, W) uint8, turned upright. Raises BadSample where it is no whole JPEG, or of more than
    `max_pixels`."""
    try:
        require_pixels(*size(data), max_pixels)
        pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if grey else "RGB", strict=True)
    except (ValueError, RuntimeError) as error:
        raise BadSample(member.where, f"a JPEG that can't be decoded: {error}") from error
    return np.ascontiguousarray(upright(pixels[..., 0] if grey else pixels, orientation(data)))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rows and columns as they are meant to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def orientation(data: bytes) -> int:
    """What Exif tells, 1 to 8; 1 where it tells nothing or makes no sense."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        kind, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + length]
        if kind == 0xE1 and segment.startswith(_EXIF):
            return tagged(segment[len(_EXIF) :])
        if kind == 0xDA or length < 2:
            break
        place += 2 + length
    return 1


def tagged(tiff: bytes) -> int:
    """Orientation in the first directory of a TIFF header, as `orientation` gives it."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    try:
        if order is None:
            return 1
        (first,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, first)
        for number in range(min(count, _MOST_TAGS)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHLH", tiff, first + 2 + 12 * number)
            if tag == _ORIENTATION and kind == _SHORT and 1 <= value <= 8:
                return value
    except struct.error:
        pass
    return 1
