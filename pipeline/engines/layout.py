"""How a sample's fields lie in memory as planes, and the program that joins them (`planes.py`).

Legend: P planes, h rows, w columns of a sample.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from david.pack.shards.schema import CODINGS, Fields

STEP = np.dtype([("coding", "=i4"), ("plane", "=i4"), ("bound", "=i4"), ("centre", "=f4"), ("factor", "=f4")])
WHOLE = 0
OPERATIONS = {"u8": WHOLE, "f16-affine": 1, "u16-linear": 2, "octahedral-12": 3, "f16-relative": 4}  # as in `_planes.c`
LINEAR, RELATIVE = "u16-linear", "f16-relative"
Ranges = dict[str, dict[str, float]]  # field -> what its coding has to know of it


@dataclass(frozen=True)
class Layout:
    """smooth: fields that are resampled as images, a plane each; bounded: those that lie within another
    sharp: of the others, which planes are whose
    count: P of the sharp ones; steps: of the program, in the order of `names`, before ranges are known; fixed: they as
        bytes; ranged: fields whose steps need a range, and their codings"""

    names: tuple[str, ...]
    smooth: tuple[str, ...]
    bounded: tuple[str, ...]
    sharp: dict[str, slice]
    count: int
    steps: np.ndarray
    fixed: bytes
    ranged: dict[str, str]

    def program(self, ranges: Ranges) -> bytes:
        """The steps of a sample whose fields have these ranges."""
        if not self.ranged:
            return self.fixed
        steps = self.steps.copy()
        for name, coding in self.ranged.items():
            at = self.names.index(name)
            steps["centre"][at], steps["factor"][at] = constants(coding, ranges[name])
        return steps.tobytes()


def constants(coding: str, about: dict[str, float]) -> tuple[float, float]:
    """Centre and factor of a field. Of whole steps, (steps - centre) * factor is relative to the range, as `f16-affine`
    has it; of `f16-relative`, relative * factor + centre is the value.

    Both are rounded to float32, and so is the outcome of each operation: any engine gives the same bits."""
    if coding == RELATIVE:
        return about["offset"], about["scale"]
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
        ranged={field.name: field.coding for field in fields if field.coding in (LINEAR, RELATIVE)},
    )
