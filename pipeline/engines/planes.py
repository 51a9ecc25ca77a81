"""Byte planes joined on the CPU: to values, and what of each is valid (see `pack/shards/schema.py`).

Values are moved about as bytes by nearest neighbour before they are joined to numbers: no value is mixed with another,
so nothing of an invalid pixel reaches a valid one. What lies beyond the sample has all bits set, which no valid pixel
of any coding has.

Joining is exact up to one square root, one reciprocal, one product and the rounding to float16, each correctly rounded
everywhere: octahedral coordinates stay integers (in units of 1 / 2047), whose squares add up to less than 2**24. So
this module, its counterpart for devices (`planes_on_device.py`) and any other IEEE arithmetic give the same bits.

Legend: P planes, H rows, W columns of the batch, h, w of a sample.
"""

import numpy as np

from david.pipeline.engines import _planes
from david.pipeline.engines.layout import STEP, WHOLE
from david.pipeline.reading import members
from david.pipeline.sampling.placement import Placement

CENTRE = 2047  # the octahedral code of 0, and the unit
MAGNITUDE, INFINITY = 0x7FFF, 0x7C00  # of float16 bits as int16; a magnitude from infinity's on is no value
SKY = 0xFFFF  # of whole steps
LARGEST = 65504.0  # float16
NOTHING = np.empty(0, np.uint8)
_WITHIN = np.array([(WHOLE, 0, -1, 0, 0)], STEP).tobytes()


def join(
    planes: np.ndarray,
    placement: Placement,
    program: bytes,
    filled: tuple[np.ndarray, ...],
    packed: tuple[memoryview, ...] = (),
    outs: tuple[np.ndarray, ...] = (),
) -> float | None:
    """Place and join planes (P, h, w) uint8 in one pass (`_planes.c`), as a program says (`layout.Layout`).

    filled: for each of its steps the mask to fill, (H, W) bool, and the value, (H, W) or (3, H, W) float16, or (H, W)
        float32 of `f16-relative`, 0 where invalid; `NOTHING` where a field is no matter of planes
    packed: LZ4 members, by the way inflated into `outs`: parts of the planes, as far as the pass needs them, or other
        arrays

    The seconds that inflating took; None where a member is damaged, and then nothing is worth anything. Raises
    ValueError where the buffers don't fit."""
    (count, h, w), (height, width) = planes.shape, placement.target
    cosine, sine, flip = placement.cosine, placement.sine, placement.flip
    known = planes, count, h, w, placement.where(), cosine, sine, flip, program, filled, height, width
    return _planes.join(*known, members.LZ4, packed, outs) if packed else _planes.join(*known)


def within(placement: Placement) -> np.ndarray:
    """(H, W) bool: which pixels lie within the sample."""
    inside = np.empty(placement.target, bool)
    join(np.empty((0, *placement.source), np.uint8), placement, _WITHIN, (inside, NOTHING))
    return inside
