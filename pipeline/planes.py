"""Byte planes on the CPU: from a shard's compressed members to depth, validity and normals (see `pack/schema.py`).

Values are moved about as bytes by nearest neighbour before they are joined to numbers: no value is mixed with another,
so nothing of an invalid pixel reaches a valid one.

Joining is exact up to one square root, one reciprocal, one product and the rounding to float16, each correctly rounded
everywhere: octahedral coordinates stay integers (in units of 1 / 2047), whose squares add up to less than 2**24. So
this module, its counterpart for devices (`planes_on_device.py`) and any other IEEE arithmetic give the same bits.

Legend: P planes, H rows, W columns of the batch, h, w of a sample.
"""

import cramjam
import numpy as np

from david.pack import codecs
from david.pack.errors import BadSample, DavidError
from david.pack.schema import BLOCK_BYTES, PLANES, Compression
from david.pipeline import _planes
from david.pipeline.geometry import Placement
from david.pipeline.reader import Encoded

COUNT = sum(PLANES.values())  # alpha's, depth's, normals': in the schema's order
CENTRE = 2047  # the octahedral code of 0, and the unit
MAGNITUDE, INFINITY = 0x7FFF, 0x7C00  # of float16 bits as int16; a magnitude above infinity's is NaN


def inflate(encoded: Encoded, compression: Compression, out: np.ndarray) -> None:
    """Fill (6, h, w) uint8 with the sample's planes. Raises BadSample where its bytes are damaged."""
    start = 0
    for name, count in PLANES.items():
        member, target = encoded.planes[name], out[start : start + count]
        try:
            if compression == "lz4" and target.nbytes % BLOCK_BYTES == 0:
                _inflate_lz4(member, target)
            else:
                codecs.decode_planes(member, count, encoded.height, encoded.width, compression, target)
        except DavidError as error:
            raise BadSample(encoded.where, f"{name}: {error}") from error
        start += count


def _inflate_lz4(member: memoryview, out: np.ndarray) -> None:
    """`codecs.decode_planes` for planes that fill whole blocks: straight into place, in half its time."""
    sizes = codecs.block_sizes(member, *out.shape)
    target, end = out.data.cast("B"), 4 * len(sizes)
    for start, size in zip(range(0, len(target), BLOCK_BYTES), sizes.tolist(), strict=True):
        begin, end = end, end + size
        try:
            count = cramjam.lz4.decompress_block_into(
                member[begin:end], target[start : start + BLOCK_BYTES], output_len=BLOCK_BYTES
            )
        except cramjam.DecompressionError as error:
            raise DavidError(f"a lz4 block is damaged: {error}") from error
        if count != BLOCK_BYTES:
            raise DavidError(f"a block holds {count} bytes instead of {BLOCK_BYTES}")


def join(planes: np.ndarray, placement: Placement, depth: np.ndarray, valid: np.ndarray, normals: np.ndarray) -> None:
    """Fill depth (H, W) float16, valid (H, W) bool and normals (3, H, W) float16; depth and normals 0 where invalid.

    planes: (5, h, w) uint8, two of depth and three of normals, placed and joined in one pass (`_planes.c`)"""
    (_, h, w), (height, width) = planes.shape, depth.shape
    cosine, sine, flip = placement.cosine, placement.sine, placement.flip
    _planes.join(planes, h, w, placement.where(), cosine, sine, flip, depth, valid, normals, height, width)
