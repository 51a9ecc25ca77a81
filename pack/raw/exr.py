"""Float32 channels of an OpenEXR file held in memory. What a file declares is checked before OpenEXR sees it.

After "OpenEXR File Layout" (openexr.com), versions 1 and 2: one part, scanlines, no loss. Legend: H rows, W columns.
"""

import io
import struct
from typing import NamedTuple

import numpy as np
import OpenEXR

from david.pack.errors import BadSample
from david.pack.raw.archive import Member, require_pixels

MAGIC = b"\x76\x2f\x31\x01"
MAX_HEADER_BYTES = 65_536
_START = len(MAGIC) + 4  # the version and its flags follow
_FLAGS = {0x200: "tiles", 0x800: "deep pixels", 0x1000: "several parts"}
_LONG_NAMES = 0x400
_COMPRESSIONS = ("none", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_ROWS = {"none": 1, "RLE": 1, "ZIPS": 1, "ZIP": 16, "PIZ": 32}  # of a chunk, where nothing is lost
_PIXELS = ("uint32", "half", "float32")
_CHANNEL = struct.Struct("<iB3x2i")  # pixel type, linear, columns and rows a sample
_BOX = struct.Struct("<4i")  # first column, first row, last column, last row
_SIZES = {  # of the types of attributes that may stand in a header; None: as long as it says
    **dict.fromkeys(("compression", "envmap", "lineOrder"), 1),
    **dict.fromkeys(("float", "int"), 4),
    **dict.fromkeys(("double", "rational", "timecode", "v2f", "v2i"), 8),
    **dict.fromkeys(("v3f", "v3i"), 12),
    **dict.fromkeys(("box2f", "box2i", "v2d"), 16),
    **{"v3d": 24, "keycode": 28, "chromaticities": 32, "m33f": 36, "m44f": 64, "m33d": 72, "m44d": 128},
    **dict.fromkeys(("chlist", "string"), None),
}


class Header(NamedTuple):
    """What an EXR declares. channels: name -> pixel type; compression: as in _ROWS; end: bytes of magic and header."""

    height: int
    width: int
    channels: dict[str, str]
    compression: str
    end: int


def decode(member: Member, data: bytes, channels: tuple[str, ...], max_pixels: int) -> list[np.ndarray]:
    """The named channels, each (H, W) float32.

    Raises BadSample where the file is no such EXR, holds other channels, or more than `max_pixels`. One thread: packing
    runs one process a core."""
    return _decode(member, data, (channels,), max_pixels, exact=True)


def decode_any(member: Member, data: bytes, layers: tuple[tuple[str, ...], ...], max_pixels: int) -> list[np.ndarray]:
    """The channels of the first of `layers` that the file has, each (H, W) float32; half floats too, and whatever else
    it holds. Raises BadSample as `decode` does."""
    return [plane.astype(np.float32, copy=False) for plane in _decode(member, data, layers, max_pixels, exact=False)]


def _decode(
    member: Member, data: bytes, layers: tuple[tuple[str, ...], ...], max_pixels: int, exact: bool
) -> list[np.ndarray]:
    try:
        header = read_header(data)
        channels = next((one for one in layers if set(one) <= header.channels.keys()), layers[0])
        kinds = {header.channels.get(name) for name in channels}
        if (exact and header.channels != dict.fromkeys(channels, "float32")) or not kinds <= {"half", "float32"}:
            told = ", ".join(f"{name} {pixels}" for name, pixels in header.channels.items())
            expected = " or ".join(", ".join(one) for one in layers)
            raise ValueError(f"expected float32 channels {expected}, found {told or 'none'}")
        require_pixels(header.height, header.width, max_pixels)
        check_chunks(data, header)
        parts = OpenEXR.File(io.BytesIO(data), separate_channels=True, num_threads=0).parts
        if len(parts) != 1 or set(parts[0].channels) != set(header.channels):
            raise ValueError("its pixels are damaged")
    except (ValueError, RuntimeError, TypeError) as error:
        raise BadSample(member.where, f"no EXR that can be decoded: {error}") from error
    pixels = [parts[0].channels[name].pixels for name in channels]
    found = {(plane.shape, plane.dtype.name.replace("float16", "half")) for plane in pixels}
    if found != {((header.height, header.width), kind) for kind in kinds}:
        raise BadSample(member.where, f"an EXR that declares {header} but holds {found}")
    return pixels


def read_header(data: bytes) -> Header:
    """The header of an EXR of one part in scanlines, compressed without loss.

    Raises ValueError where the file is none, with what it is instead."""
    if not data.startswith(MAGIC) or len(data) < _START:
        raise ValueError(f"it begins with {data[:8]!r}, not as an EXR does")
    (version,) = struct.unpack_from("<I", data, len(MAGIC))
    kinds = [name for flag, name in _FLAGS.items() if version & flag]
    if kinds:
        raise ValueError(f"expected one part in scanlines, found {' and '.join(kinds)}")
    if version & ~_LONG_NAMES not in (1, 2):
        raise ValueError(f"version {version:#x}, expected 2")
    attributes, end = _attributes(data)

    def value(name: str, kind: str) -> bytes:
        found, content = attributes.get(name, ("nothing", b""))
        if found != kind:
            raise ValueError(f"its {name} should be a {kind}, found {found}")
        return content

    number = value("compression", "compression")[0]
    compression = _COMPRESSIONS[number] if number < len(_COMPRESSIONS) else f"method {number}"
    if compression not in _ROWS:
        raise ValueError(f"compressed as {compression}, expected one of {', '.join(_ROWS)}")
    if value("lineOrder", "lineOrder")[0] > 1:
        raise ValueError("its rows stand in no order")
    window, display = (_BOX.unpack(value(name, "box2i")) for name in ("dataWindow", "displayWindow"))
    left, top, right, bottom = window
    if window != display or left or top or right < 0 or bottom < 0:
        raise ValueError(
            f"data window {window}, display window {display} (first column, first row, last column, last row), "
            "expected the same twice, from 0, 0"
        )
    if "type" in attributes and value("type", "string") != b"scanlineimage":
        raise ValueError(f"a {value('type', 'string')[:32]!r}, expected a scanlineimage")
    return Header(bottom + 1, right + 1, _channels(value("channels", "chlist")), compression, end)


def _attributes(data: bytes) -> tuple[dict[str, tuple[str, bytes]], int]:
    """A header's attributes, name -> (type, value), and where the header ends."""
    head = data[:MAX_HEADER_BYTES]
    found: dict[str, tuple[str, bytes]] = {}
    position = _START
    while head[position : position + 1] != b"\0":
        name, position = _text(head, position)
        kind, position = _text(head, position)
        if position + 4 > len(head):
            raise ValueError(f"no end of its header in {len(head):,} bytes")
        (size,) = struct.unpack_from("<i", head, position)
        position += 4
        if kind not in _SIZES or name in found:
            raise ValueError(f"its header holds a {name!r} of type {kind!r}" + " twice" * (name in found))
        if not 0 <= size <= len(head) - position or _SIZES[kind] not in (None, size):
            raise ValueError(f"its {name!r} of type {kind!r} is said to have {size:,} bytes")
        found[name] = kind, head[position : position + size]
        position += size
    return found, position + 1


def _text(head: bytes, start: int) -> tuple[str, int]:
    """The text at `start`, up to its zero byte, and where it ends."""
    stop = head.find(b"\0", start, start + 256)
    if stop <= start:
        raise ValueError(f"its header is cut short or damaged at byte {start:,}")
    return head[start:stop].decode("latin-1"), stop + 1


def _channels(chlist: bytes) -> dict[str, str]:
    found = {}
    position = 0
    while chlist[position:] != b"\0":
        name, position = _text(chlist, position)
        if position + _CHANNEL.size > len(chlist):
            raise ValueError(f"its list of channels is cut short at {name!r}")
        pixels, _, *sampling = _CHANNEL.unpack_from(chlist, position)
        position += _CHANNEL.size
        if not 0 <= pixels < len(_PIXELS) or sampling != [1, 1] or name in found:
            raise ValueError(f"channel {name!r} of pixel type {pixels}, one sample in {sampling} columns and rows")
        found[name] = _PIXELS[pixels]
    return found


def check_chunks(data: bytes, header: Header) -> None:
    """Raises ValueError where not every chunk of rows lies whole in the file, in its place."""
    rows = _ROWS[header.compression]
    count = -(-header.height // rows)
    first = header.end + 8 * count
    if first > len(data):
        raise ValueError(f"cut short: {len(data):,} bytes, a table of {count:,} chunks ends at {first:,}")
    offsets = np.frombuffer(data, "<u8", count, header.end)
    if (offsets < first).any() or (offsets > max(0, len(data) - 8)).any():
        raise ValueError(f"cut short or damaged: chunks said to lie outside its {len(data):,} bytes")
    heads = np.frombuffer(data, np.uint8)[offsets.astype(np.int64)[:, None] + np.arange(8)]
    row, size = heads.view("<i4").astype(np.int64).T
    ends = offsets.astype(np.int64) + 8 + size
    expected = np.arange(count) * rows
    most = np.minimum(rows, header.height - expected) * header.width * 4 * len(header.channels)
    if (row != expected).any() or (size <= 0).any() or (size > most).any() or (ends > len(data)).any():
        raise ValueError("cut short or damaged: its chunks are not where its table says")
