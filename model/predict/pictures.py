"""Anybody's photographs held in memory to upright RGB. What a file declares is checked before a decoder allocates
anything for it.

PNG and JPEG by the readers of `david.pack.raw`, which are fast and strict; what they do not read (CMYK, progressive
oddities, WebP, TIFF, BMP, GIF, AVIF, ...) by Pillow, its first frame. Grey, palettes and 16 bits become 8-bit RGB, and
transparency is left out, so that a cut-out is seen on the colours that lie under it.

Legend: H rows, W columns.
"""

import io
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from david.pack.errors import BadSample
from david.pack.raw import jpeg, picture, png
from david.pack.raw.archive import MAX_BYTES, Member, require_pixels
from david.pack.raw.zip_faults import STORED

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 28  # of one picture: 16,384 x 16,384
SUFFIXES = (  # of the files of a folder that are taken for pictures; HEIC among them, to be named, not passed over
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff"),
    *(".bmp", ".gif", ".avif", ".heic", ".heif"),
)
_OTHERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")  # none that runs a program
_EXIF_OF_PNG = b"eXIf"


def read(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a file, upright. Raises BadSample, one sentence that names it, where it can't be read or
    is no picture."""
    return decode(str(path), contents(path), max_pixels)


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


def decode(
    where: str,
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    sized: Callable[[int, int], None] = lambda height, width: None,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright, of a picture's bytes. where: names it in errors; sized: hears rows and columns as
    stored, before memory is taken for them.

    Raises BadSample where it is no picture, damaged, cut short, or of more than `max_pixels`."""
    if not data:
        raise BadSample(where, "empty, 0 bytes; expected a picture")

    def checked(height: int, width: int) -> None:
        require_pixels(height, width, max_pixels)
        sized(height, width)

    member = Member(Path(where), "", len(data), None, None, len(data), STORED)
    try:
        if data.startswith(png.SIGNATURE):
            checked(*png.read_header(data)[:2])
            upright = jpeg.upright(picture.rgb(member, data, max_pixels), _orientation_of_png(data))
            return np.ascontiguousarray(upright)
        if data.startswith(jpeg.SIGNATURE) and _is_plain(data):
            checked(*jpeg.size(data))
            return picture.rgb(member, data, max_pixels)
        return _by_pillow(data, checked)
    except BadSample as error:
        raise BadSample(where, error.reason) from error
    except ValueError as error:
        raise BadSample(where, str(error)) from error


def _is_plain(data: bytes) -> bool:
    """Whether a JPEG is one that simplejpeg turns into RGB: not of four inks, nor of a kind that it does not know."""
    try:
        return simplejpeg.decode_jpeg_header(data)[2] in ("YCbCr", "RGB", "Gray", "GRAY")
    except (ValueError, RuntimeError):
        return False


def _orientation_of_png(data: bytes) -> int:
    """As `jpeg.orientation`, of a PNG's eXIf chunk (PNG, third edition, 11.3.3.4), before or behind its pixels."""
    place = len(png.SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">L4s", data, place)
        if kind == _EXIF_OF_PNG:
            return jpeg.tagged(data[place + 8 : place + 8 + length])
        place += 12 + length
    return 1


def _by_pillow(data: bytes, checked: Callable[[int, int], None]) -> np.ndarray:
    """The first frame of whatever Pillow knows. Raises ValueError with what was found."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()  # else it knows five formats
    try:
        known = [one for one in _OTHERS if one in Image.OPEN]  # MPO is none of its own: JPEG's reader opens it
        opened = Image.open(io.BytesIO(data), formats=known)
    except UnidentifiedImageError as error:
        raise ValueError(f"no picture that can be read: it begins with {data[:8]!r}{_advice(data)}") from error
    except Exception as error:  # of decoders of many formats, which share no base
        raise ValueError(f"no picture that can be read ({_short(error)})") from error
    with opened:
        kind = opened.format or "picture"
        checked(opened.height, opened.width)
        try:
            opened.seek(0)
            return np.array(_eight_bits(ImageOps.exif_transpose(opened)))
        except Exception as error:
            raise ValueError(
                f"a {kind} of {opened.width} x {opened.height} that can't be decoded: {_short(error)}"
            ) from error


def _eight_bits(image: "Image.Image") -> "Image.Image":
    """In RGB: numbers of 16 bits by their upper eight, of floats and 32 bits from their least to their most."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        numbers = np.asarray(image, np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("pixels that are not finite")
        least, most = numbers.min(), numbers.max()
        if image.mode == "I" and least >= 0 and most <= 65535:
            least, most = 0, 65535  # 16 bits, which some formats hand out as 32
        grey = (numbers - least) / max(most - least, 1e-12) * 255
        return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")  # a transparent colour keeps its colour
    return image.convert("RGB")


def _advice(data: bytes) -> str:
    return " (HEIC; save it as JPEG or PNG)" if data[4:8] == b"ftyp" else ""


def _short(error: Exception) -> str:
    text = str(error).splitlines()[0][:120] if str(error) else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
