"""How a sample's fields lie in memory as planes, and the program that joins them (`planes.py`).

Legend: P planes, h rows, w columns of a sample.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from david.pack.shards.schema import CODINGS, Fields

STEP = np.dtype([("coding", "=i4"), ("plane", "=i4"), ("bound", "=i4"), ("centre", "=f4"), ("factor", "=f4")])
WHOLE = 0
OPERATIONS = {"u8": WHOLE, "f16-affine": 1, "u16-linear": 2, "octahedral-12": 3}  # as in `_planes.c`
LINEAR = "u16-linear"
Ranges = dict[str, dict[str, float]]  # field -> offset_m, scale_m and step_m, as far as it has them


@dataclass(frozen=True)
class Layout:
    """smooth: fields that are resampled as images, a plane each; bounded: those that lie within another
    sharp: of the others, which planes are whose
    count: P of the sharp ones; steps: of the program, in the order of `names`, before ranges are known; fixed: they as
        bytes; linear: fields whose steps need a range"""

    names: tuple[str, ...]
    smooth: tuple[str, ...]
    bounded: tuple[str, ...]
    sharp: dict[str, slice]
    count: int
    steps: np.ndarray
    fixed: bytes
    linear: tuple[str, ...]

    def program(self, ranges: Ranges) -> bytes:
        """The steps of a sample whose fields have these ranges."""
        if not self.linear:
            return self.fixed
        steps = self.steps.copy()
        for name in self.linear:
            at = self.names.index(name)
            steps["centre"][at], steps["factor"][at] = relative(ranges[name])
        return steps.tobytes()


def relative(about: dict[str, float]) -> tuple[float, float]:
    """Of whole steps, centre and factor: (steps - centre) * factor is relative to the range, as `f16-affine` has it.

    Both are rounded to float32, and so are the difference and the product: any engine gives the same bits."""
    return about["offset_m"] / about["step_m"], about["step_m"] / about["scale_m"]


@lru_cache(maxsize=256)
def layout(fields: Fields) -> Layout:
    """Of a sample that has these fields, rgb apart; a field comes behind the one that it lies within."""
    sharp, end, steps, names = {}, 0, [], [field.name for field in fields]
    for field in fields:
        bound = -1 if field.within is None else names.index(field.within)
        smooth = CODINGS[field.coding].resample == "linear"
        steps.append((OPERATIONS[field.coding], 0 if smooth else end, bound, 0, 0))
        if not smooth:
            sharp[field.name] = slice(end, end + field.planes)
            end += field.planes
    return Layout(
        names=tuple(names),
        smooth=tuple(name for name in names if name not in sharp),
        bounded=tuple(one.name for one in fields if one.name not in sharp and one.within is not None),
        sharp=sharp,
        count=end,
        steps=np.array(steps, STEP),
        fixed=np.array(steps, STEP).tobytes(),
        linear=tuple(field.name for field in fields if field.coding == LINEAR),
    )
