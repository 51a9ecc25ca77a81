"""Byte planes joined on the CPU: to depth, normals, and what of each is valid (see `pack/shards/schema.py`).

Values are moved about as bytes by nearest neighbour before they are joined to numbers: no value is mixed with another,
so nothing of an invalid pixel reaches a valid one.

Joining is exact up to one square root, one reciprocal, one product and the rounding to float16, each correctly rounded
everywhere: octahedral coordinates stay integers (in units of 1 / 2047), whose squares add up to less than 2**24. So
this module, its counterpart for devices (`planes_on_device.py`) and any other IEEE arithmetic give the same bits.

Legend: P planes, H rows, W columns of the batch, h, w of a sample.
"""

import numpy as np

from david.pack.shards.schema import PLANES
from david.pipeline.engines import _planes
from david.pipeline.sampling.geometry import Placement

COUNT = PLANES["depth"] + PLANES["normals"]
CENTRE = 2047  # the octahedral code of 0, and the unit
MAGNITUDE, INFINITY = 0x7FFF, 0x7C00  # of float16 bits as int16; a magnitude above infinity's is NaN


def join(
    planes: np.ndarray,
    placement: Placement,
    depth: np.ndarray,
    valid: np.ndarray,
    normals: np.ndarray,
    normals_valid: np.ndarray,
) -> None:
    """Fill depth (H, W) and normals (3, H, W) float16, each 0 where invalid, and valid and normals_valid (H, W) bool.

    planes: (5, h, w) uint8, two of depth and three of normals, placed and joined in one pass (`_planes.c`)"""
    (_, h, w), (height, width) = planes.shape, depth.shape
    cosine, sine, flip = placement.cosine, placement.sine, placement.flip
    filled = depth, valid, normals, normals_valid
    _planes.join(planes, h, w, placement.where(), cosine, sine, flip, *filled, height, width)
