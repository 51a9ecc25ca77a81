"""Images, planes, depth and normals to bytes and back, as `schema.py` defines them.

Legend: H rows, W columns, P planes of (H, W) uint8.
"""

import struct
from collections.abc import Callable, Iterator

import cv2
import lz4.block
import numpy as np
import zstandard

from david.pack.errors import DavidError
from david.pack.shards import _codecs
from david.pack.shards.schema import BLOCK_BYTES, Compression, ImageCodec, block_count

REVISION = 2  # raise it with any change after which the same sample gives other bytes: resuming compares it
JPEG_QUALITY = 95
LZ4_LEVEL = 4  # level 9 takes four times as long for 0.7 % fewer bytes
ZSTD_LEVEL = 9  # level 19 takes twelve times as long for 2 % fewer bytes
NORMAL_CENTRE = 2047  # the code of 0; codes run from 0 to 4094, and 4095, 4095 is no normal: every bit of its planes
_BAND_ROWS = 32

IMAGE_ENCODERS = {
    "jpeg": (
        ".jpg",
        [
            *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
            *(cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        ],
    ),
    "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),  # above 100: lossless
}


def encode_rgb(rgb: np.ndarray, image: ImageCodec) -> bytes:
    """(H, W, 3) uint8 sRGB to a JPEG (4:4:4, quality 95) or a lossless WebP."""
    extension, parameters = IMAGE_ENCODERS[image]
    done, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise DavidError(f"an image of shape {rgb.shape} could not be encoded as {image}")
    return data.tobytes()


def decode_rgb(data: bytes | memoryview) -> np.ndarray:
    """A JPEG or WebP to (H, W, 3) uint8 sRGB."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None:
        raise DavidError(f"{len(data)} bytes are no image that can be decoded")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)


def compress_lz4(block: bytes, low: bool) -> bytes:
    """low: packed at once, for in low bytes a search finds 0.6 % of a sample's size, and takes half of LZ4's time."""
    how = {} if low else {"mode": "high_compression", "compression": LZ4_LEVEL}
    return lz4.block.compress(block, store_size=False, **how)


def _lz4_decompress(block: memoryview) -> bytes:
    return lz4.block.decompress(block, uncompressed_size=BLOCK_BYTES)


def _zstd_compress(block: bytes, low: bool) -> bytes:
    return zstandard.ZstdCompressor(level=1 if low else ZSTD_LEVEL).compress(block)


def _zstd_decompress(block: memoryview) -> bytes:
    if zstandard.frame_content_size(block) != BLOCK_BYTES:
        raise zstandard.ZstdError(f"a block does not declare {BLOCK_BYTES} bytes")
    return zstandard.ZstdDecompressor().decompress(block, max_output_size=BLOCK_BYTES)


_COMPRESS: dict[str, Callable[[bytes, bool], bytes]] = {"lz4": compress_lz4, "zstd": _zstd_compress}
_DECOMPRESS: dict[str, Callable[[memoryview], bytes]] = {"lz4": _lz4_decompress, "zstd": _zstd_decompress}


def blocks_of(planes: np.ndarray, low: int = 0) -> list[tuple[bytes, bool]]:
    """(P, H, W) uint8 as blocks of 65,536 bytes, the last filled up with zeros, and whether each holds low bytes only.

    low: how many planes, from the last, are low bytes"""
    raw = np.ascontiguousarray(planes).tobytes()
    first_low = len(raw) - low * planes[0].size
    raw += bytes(-len(raw) % BLOCK_BYTES)
    return [(raw[start : start + BLOCK_BYTES], start >= first_low) for start in range(0, len(raw), BLOCK_BYTES)]


def encode_planes(planes: np.ndarray, compression: Compression, low: int = 0) -> bytes:
    """(P, H, W) uint8 to a member: n little-endian uint32 sizes, then n compressed blocks; see `blocks_of`."""
    compress = _COMPRESS[compression]
    parts = [compress(block, is_low) for block, is_low in blocks_of(planes, low)]
    return struct.pack(f"<{len(parts)}I", *map(len, parts)) + b"".join(parts)


def block_sizes(data: bytes | memoryview, planes: int, height: int, width: int) -> np.ndarray:
    """The member's table of compressed sizes, (n,) uint32; the first block starts at byte 4 n.

    Raises DavidError where the sizes do not add up to the member."""
    n = block_count(height, width, planes)
    if len(data) < 4 * n:
        raise DavidError(
            f"a member of {planes} planes of {height} x {width} needs {n} blocks; it holds {len(data)} bytes"
        )
    sizes = np.frombuffer(data, "<u4", n)
    if 4 * n + int(sizes.sum(dtype=np.int64)) != len(data):
        raise DavidError(
            f"block sizes add up to {4 * n + int(sizes.sum(dtype=np.int64))} bytes, the member has {len(data)}"
        )
    return sizes


def decode_planes(
    data: bytes | memoryview,
    planes: int,
    height: int,
    width: int,
    compression: Compression,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """A member to (planes, H, W) uint8, written into `out` where given (contiguous, of that shape).

    Raises DavidError where the bytes are not such a member."""
    sizes = block_sizes(data, planes, height, width)
    if out is None:
        out = np.empty((planes, height, width), np.uint8)
    flat, view, decompress = out.data.cast("B"), memoryview(data), _DECOMPRESS[compression]
    end = 4 * len(sizes)
    try:
        for start, size in zip(range(0, out.nbytes, BLOCK_BYTES), sizes.tolist(), strict=True):
            begin, end = end, end + size
            block = decompress(view[begin:end])
            if len(block) != BLOCK_BYTES:
                raise DavidError(f"a block holds {len(block)} bytes instead of {BLOCK_BYTES}")
            flat[start : start + BLOCK_BYTES] = block[: out.nbytes - start]
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise DavidError(f"a {compression} block is damaged: {error}") from error
    return out


def split_u16(words: np.ndarray) -> np.ndarray:
    """(H, W) uint16 to 2 planes: high bytes, low bytes."""
    return np.stack([words >> 8, words & 255]).astype(np.uint8)


def join_u16(planes: np.ndarray) -> np.ndarray:
    """2 planes to (H, W) uint16."""
    return (planes[0].astype(np.uint16) << 8) | planes[1]


def split_depth(relative: np.ndarray) -> np.ndarray:
    """(H, W) float16 relative depth, NaN where unknown, infinite for sky, to 2 planes: high bytes, low bytes."""
    return split_u16(relative.view(np.uint16))


def join_depth(planes: np.ndarray) -> np.ndarray:
    """2 planes to (H, W) float16 relative depth, NaN where unknown, infinite for sky."""
    return join_u16(planes).view(np.float16)


def _bands(height: int) -> Iterator[slice]:
    """Row ranges so thin that what is computed in between stays in the cache."""
    return (slice(top, top + _BAND_ROWS) for top in range(0, height, _BAND_ROWS))


def split_normals(normals: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 unit normals to 3 planes of 12-bit octahedral codes (Cigolle et al. 2014).

    Pixels that are not valid get the code of no normal, and so does what is none: not finite, or of a length that is
    off 1 by more than 0.01. Fastest where each axis lies in memory by itself."""
    planes = np.empty((3, *valid.shape), np.uint8)
    x, y, z = (np.ascontiguousarray(normals[..., axis], np.float32) for axis in range(3))
    _codecs.split(x, y, z, np.ascontiguousarray(valid), planes)
    return planes


def join_normals(planes: np.ndarray) -> np.ndarray:
    """3 planes to (H, W, 3) float32 unit normals; (0, 0, 1) where the codes are 2047, 2047, and 0 where there is none
    (`known_normals`)."""
    normals = np.empty((*planes.shape[1:], 3), np.float32)
    for rows in _bands(planes.shape[1]):
        top = planes[0, rows].astype(np.int16)
        x = ((top >> 4 << 8 | planes[1, rows]) - NORMAL_CENTRE).astype(np.float32)
        y = (((top & 15) << 8 | planes[2, rows]) - NORMAL_CENTRE).astype(np.float32)
        z = NORMAL_CENTRE - np.abs(x) - np.abs(y)
        fold = np.maximum(-z, 0)
        x -= np.copysign(fold, x)
        y -= np.copysign(fold, y)
        scale = 1 / np.sqrt(x * x + y * y + z * z)
        scale *= known_normals(planes[:, rows])
        cv2.merge((x * scale, y * scale, z * scale), dst=normals[rows])
    return normals


def known_normals(planes: np.ndarray) -> np.ndarray:
    """3 planes to (H, W) bool: where the codes are those of a normal, and not 4095, 4095."""
    return (planes[0] & planes[1] & planes[2]) != 255


def normalise_depth(depth: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Depth in any unit (H, W) float32 to (relative (H, W) float16, offset, scale): the middle and half range of the
    valid pixels, whose depth is finite, in that unit; relative depth is NaN where invalid,
    and infinite where that is sky, of infinite depth.

    Raises DavidError where no pixel is valid."""
    if not valid.any():
        raise DavidError("no pixel has a valid depth")
    relative = np.empty(depth.shape, np.float16)
    depths = np.ascontiguousarray(depth, np.float32)
    offset, scale = _codecs.normalise(depths, np.ascontiguousarray(valid), relative)
    return relative, offset, scale


def angle_degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between unit vectors (..., 3), exact for small angles too: 2 atan2(|a - b|, |a + b|) (Kahan)."""
    apart, along = a - b, a + b
    squares = (np.einsum("...i,...i->...", part, part) for part in (apart, along))
    return np.degrees(2 * np.arctan2(*map(np.sqrt, squares)))
