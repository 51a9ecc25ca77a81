"""8-bit PNGs held in memory. What a file declares is checked before a decoder allocates or sees anything of it.

After the PNG specification, third edition (sections 5, 11.2). libpng is handed the chunks that decide the pixels, and
no others: text, profiles, animation and whatever else may lie in a file are left out.
"""

import struct
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple

import cv2
import numpy as np

from david.pack.errors import BadSample
from david.pack.raw.archive import Member, require_pixels

Colour = Literal["RGB", "grey"]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 65_536
_HEADER = struct.Struct(">L4s2L5BL")  # length and type of IHDR, its seven values, its CRC-32
_AROUND = 12  # bytes of a chunk beside its data: length, type, CRC-32
_ANCILLARY = 0x20  # bit of a chunk type's first letter: a decoder may pass it over
_COLOURS = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_CHANNELS = {"grey": 1, "RGB": 3, "palette": 1, "grey with alpha": 2, "RGB with alpha": 4}
_SHOWN = {b"IHDR", b"IDAT", b"IEND"}  # the chunks that decide the pixels of an image without a palette
_FLAGS = {"grey": cv2.IMREAD_GRAYSCALE, "RGB": cv2.IMREAD_COLOR_BGR}


class Header(NamedTuple):
    """What a PNG declares. bits: a channel; colour: as in _COLOURS."""

    height: int
    width: int
    bits: int
    colour: str


def decode(member: Member, data: bytes, colour: Colour, max_pixels: int) -> np.ndarray:
    """(H, W) uint8 of a grey PNG, or (H, W, 3) uint8 in the order B, G, R of an RGB one, as stored.

    Raises BadSample where it is no such PNG, or of more than `max_pixels`."""
    try:
        header = read_header(data)
        if (header.colour, header.bits) != (colour, 8):
            raise ValueError(f"expected an 8-bit {colour} PNG, found {header.bits}-bit {header.colour}")
        require_pixels(header.height, header.width, max_pixels)
        pixels = cv2.imdecode(np.frombuffer(essential(data, header), np.uint8), _FLAGS[colour])
    except (ValueError, cv2.error) as error:
        raise BadSample(member.where, str(error)) from error
    if pixels is None or pixels.shape[:2] != (header.height, header.width) or pixels.dtype != np.uint8:
        raise BadSample(member.where, f"an {header.height} x {header.width} PNG whose pixels can't be decoded: damaged")
    return pixels


def decode_any(member: Member, data: bytes, flags: int, max_pixels: int) -> np.ndarray:
    """The pixels of any PNG, as `cv2.imdecode` gives them for these flags: (H, W) or (H, W, C), uint8 or uint16.

    Raises BadSample where it is no PNG, or of more than `max_pixels`."""
    try:
        header = read_header(data)
        require_pixels(header.height, header.width, max_pixels)
        extra = {b"PLTE", b"tRNS"} if header.colour == "palette" else set()
        chunks = essential(data, header, _SHOWN | extra)
        pixels = cv2.imdecode(np.frombuffer(chunks, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except (ValueError, cv2.error) as error:
        raise BadSample(member.where, str(error)) from error
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise BadSample(member.where, f"an {header.height} x {header.width} PNG whose pixels can't be decoded: damaged")
    return pixels


def read_header(data: bytes) -> Header:
    """The image header. Raises ValueError where there is none."""
    if not data.startswith(SIGNATURE):
        raise ValueError(f"no PNG: it begins with {data[:8]!r}")
    if len(data) < len(SIGNATURE) + _HEADER.size:
        raise ValueError(f"a PNG cut short: {len(data)} bytes")
    length, kind, width, height, bits, colour, compression, filtering, interlace, _ = _HEADER.unpack_from(
        data, len(SIGNATURE)
    )
    if (length, kind) != (13, b"IHDR"):
        raise ValueError(f"its first chunk is {kind!r} of {length:,} bytes, expected IHDR of 13")
    if not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise ValueError(f"declares {height:,} rows x {width:,} columns")
    if colour not in _COLOURS or compression or filtering or interlace > 1:
        raise ValueError(f"an unknown kind of PNG (colour {colour}, {compression}, {filtering}, {interlace})")
    return Header(height, width, bits, _COLOURS[colour])


def essential(data: bytes, header: Header, shown: AbstractSet[bytes] = _SHOWN) -> bytes:
    """The same image, made of the chunks `shown` alone: IHDR, IDAT and IEND, and those of a palette.

    Raises ValueError where the chunks do not lie end to end from IHDR to IEND, where one is unknown, or where there are
    more bytes of IDAT than the image can fill."""
    kept = [SIGNATURE]
    position = len(SIGNATURE)
    packed = count = 0
    kind = b""
    while kind != b"IEND":
        if position + _AROUND > len(data):
            raise ValueError(f"a PNG cut short: {len(data):,} bytes, and no IEND")
        length, kind = struct.unpack_from(">L4s", data, position)
        stop = position + _AROUND + length
        if stop > len(data):
            raise ValueError(f"a PNG cut short: {kind!r} of {length:,} bytes at {position:,} of {len(data):,}")
        if kind in shown:
            kept.append(data[position:stop])
        elif kind != b"PLTE" and not kind[0] & _ANCILLARY:
            raise ValueError(f"an unknown chunk {kind!r}")
        packed += length * (kind == b"IDAT")
        count += 1
        if count > MAX_CHUNKS:
            raise ValueError(f"a PNG of more than {MAX_CHUNKS:,} chunks")
        position = stop
    if position != len(data):
        raise ValueError(f"{len(data) - position:,} bytes behind the end of the PNG")
    # a bad encoder may swell its rows (and their filter bytes) by a quarter at most; deflate's own bound is an eighth
    row = header.width * _CHANNELS[header.colour] * -(-header.bits // 8)
    most = header.height * (row + 2) * 5 // 4 + 65_536
    if packed > most:
        raise ValueError(f"{packed:,} bytes of IDAT, an image of this size has {most:,} at most")
    return b"".join(kept)
