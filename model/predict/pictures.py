"""Anybody's photographs in files, to upright RGB (`pack/raw/photo.py`).

Legend: H rows, W columns.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np

from david.pack.errors import BadSample
from david.pack.raw import photo
from david.pack.raw.archive import MAX_BYTES

MAX_PIXELS = 1 << 28  # of one picture: 16,384 x 16,384
SUFFIXES = (  # of the files of a folder that are taken for pictures; HEIC among them, to be named, not passed over
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff"),
    *(".bmp", ".gif", ".avif", ".heic", ".heif"),
)


def read(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, upright. Raises BadSample, one sentence that names it, where it can't be read or
    is no picture."""
    return decode(str(path), contents(path), max_pixels)


def decode(
    where: str,
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    sized: Callable[[int, int], None] = lambda height, width: None,
) -> np.ndarray:
    """As `photo.decode`, of pictures as large as are predicted."""
    return photo.decode(where, data, max_pixels, sized)


def contents(path: Path) -> bytes:
    """The bytes of a file of bounded size. Raises BadSample where it can't be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer is not waited for
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadSample(str(path), "no file of bytes but " + _kind(found.st_mode))
            if found.st_size > MAX_BYTES:
                raise BadSample(str(path), f"{found.st_size:,} bytes, at most {MAX_BYTES:,} are read")
            return file.read()
    except OSError as error:
        raise BadSample(str(path), f"can't be read ({error.strerror or error})") from error


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a device or pipe"
