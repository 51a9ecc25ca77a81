"""Anybody's photographs held in memory to upright RGB. What a file declares is checked before a decoder allocates
anything for it.

PNG and JPEG by the readers beside this one, which are fast and strict; what they do not read (CMYK, progressive
oddities, WebP, TIFF, BMP, GIF, AVIF, ...) by Pillow, its first frame. Grey, palettes and 16 bits become 8-bit RGB, and
transparency is left out, so that a cut-out is seen on the colours that lie under it.

Legend: H rows, W columns.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from david.pack.errors import BadSample
from david.pack.raw import jpeg, picture, png
from david.pack.raw.archive import Member, require_pixels
from david.pack.raw.zip_faults import STORED

if TYPE_CHECKING:
    from PIL import Image

_OTHERS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")  # none that runs a program
_EXIF_OF_PNG = b"eXIf"


def decode(
    where: str,
    data: bytes,
    max_pixels: int,
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


def of_member(member: Member, data: bytes, max_pixels: int, alone: bool) -> np.ndarray:
    """As `decode`, of an archive's member. alone: whether nothing lies beside it whose pixels have to be its own; else
    a PNG or JPEG is read as `picture.rgb` does, which turns no PNG."""
    if not alone and picture.suffix(member) in picture.PICTURES:
        return picture.rgb(member, data, max_pixels)
    return decode(member.where, data, max_pixels)


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
