"""What a predictor says of one picture, by name, and how each is made right after it was enlarged.

H rows, W columns: of the picture. C channels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

SHORTEST = 1e-6  # of a normal; below it, it points nowhere


def unit(normals: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32 to unit length, in place."""
    length = np.sqrt(np.einsum("hwc,hwc->hw", normals, normals))[..., None]
    return np.divide(normals, np.maximum(length, SHORTEST, out=length), out=normals)


def not_negative(values: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 to 0 and more, in place."""
    return np.maximum(values, 0, out=values)


def share(values: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 to 0 .. 1, in place."""
    return np.clip(values, 0, 1, out=values)


@dataclass(frozen=True)
class Kind:
    """One row. channels: C; finish: what is done, in place, after an enlargement by cubics, which overshoot"""

    channels: int
    finish: Callable[[np.ndarray], np.ndarray] = lambda values: values


FIELDS: dict[str, Kind] = {  # the fields by name; another head's output has the name of the output, and no row
    "relative_depth": Kind(1),
    "normals": Kind(3, unit),
    "alpha": Kind(1, share),
    "metric_depth_m": Kind(1, not_negative),
    "relative_disparity": Kind(1, not_negative),
}


# The fields that say how far things are; of several the first is what is drawn and written as depth.
METRIC, DISPARITY = "metric_depth_m", "relative_disparity"
DEPTHS = (METRIC, "relative_depth", DISPARITY)
AFFINE = ("relative_depth", DISPARITY)  # of these, those of which each picture has a scale and a shift of its own


def depth_of(fields: Iterable[str]) -> str | None:
    """The name of what is depth among these fields; None where nothing is."""
    there = set(fields)
    return next((name for name in DEPTHS if name in there), None)


def finished(name: str, values: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 of a field as it is handed out: (H, W) where C is 1."""
    values = FIELDS[name].finish(values) if name in FIELDS else values
    return values[..., 0] if values.shape[-1] == 1 else values


class Fields(Mapping[str, np.ndarray]):
    """What was said of one picture, float32 in the picture's size: fields by name, `fields["alpha"]`, those that the
    network has. As attributes those of `FIELDS` are None where it has no such head."""

    def __init__(self, values: Mapping[str, np.ndarray]):
        self._values = dict(values)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Fields({', '.join(f'{name} {value.shape}' for name, value in self.items())})"

    @property
    def relative_depth(self) -> np.ndarray | None:
        """(H, W), known up to a positive scale and a shift, growing with distance."""
        return self._values.get("relative_depth")

    @property
    def normals(self) -> np.ndarray | None:
        """(H, W, 3), unit X (right), Y (up), Z (towards the camera)."""
        return self._values.get("normals")

    @property
    def alpha(self) -> np.ndarray | None:
        """(H, W), the share of each pixel that is foreground, 0 .. 1."""
        return self._values.get("alpha")

    @property
    def metric_depth_m(self) -> np.ndarray | None:
        """(H, W), metres along the optical axis, growing with distance."""
        return self._values.get("metric_depth_m")

    @property
    def relative_disparity(self) -> np.ndarray | None:
        """(H, W), 1 / depth up to a positive scale and a shift, at least 0, growing with nearness."""
        return self._values.get("relative_disparity")
