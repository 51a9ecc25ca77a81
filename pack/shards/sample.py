"""One sample in memory, as a source delivers it and as `david.pack.read` gives it back.

Legend: H rows, W columns.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from david.pack.errors import DavidError


@dataclass(frozen=True)
class Sample:
    """RGB, and for each other field its values and where they mean something. Asking for a field that is not there
    raises DavidError that says what is.

    key: the id, without dot, slash or blank
    rgb: (H, W, 3) uint8, sRGB
    values: field -> (H, W) uint8 where it is coded as u8; (H, W) float32 in steps of `step_m` where it is a length;
        (H, W, 3) float32 unit X (right), Y (up), Z (towards the camera) where it is a vector. Meaningless where the
        mask is False, but that sky is infinite there and unknown depth NaN
    masks: field -> (H, W) bool; all True where a field is coded as u8
    intrinsics: (3, 3) float64 in pixels, or None where the source gives none
    meta: `source`, `scenario` and whatever else the JSON member holds
    step_m: metres a step of what is a length: sources leave numbers as they are stored, so that packing them loses
        nothing twice; what was packed comes back in metres
    """

    key: str
    rgb: np.ndarray
    values: dict[str, np.ndarray] = field(default_factory=dict)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    intrinsics: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    step_m: float = 1.0

    def value(self, name: str) -> np.ndarray:
        """A field's values. Raises DavidError where there is no such field."""
        return self._of(self.values, name)

    def valid(self, name: str) -> np.ndarray:
        """(H, W) bool: where a field's values mean something. Raises DavidError where there is no such field."""
        return self._of(self.masks, name)

    def _of(self, table: dict[str, np.ndarray], name: str) -> np.ndarray:
        if name not in table:
            raise DavidError(f"sample {self.key}: has no {name}; there is {', '.join(['rgb', *self.values])}")
        return table[name]

    @property
    def depth_m(self) -> np.ndarray:
        """(H, W) float32, metres along the optical axis, growing with distance; NaN where unknown, infinite for sky."""
        stored = self.value("depth")
        return stored if self.step_m == 1 else (stored * np.float64(self.step_m)).astype(np.float32)

    @property
    def depth_valid(self) -> np.ndarray:
        return self.valid("depth")

    @property
    def normals(self) -> np.ndarray:
        """(H, W, 3) float32, unit X (right), Y (up), Z (towards the camera)."""
        return self.value("normals")

    @property
    def normals_valid(self) -> np.ndarray:
        return self.valid("normals")

    @property
    def alpha(self) -> np.ndarray:
        """(H, W) uint8, soft foreground."""
        return self.value("alpha")

    @property
    def alpha_valid(self) -> np.ndarray:
        return self.valid("alpha")
