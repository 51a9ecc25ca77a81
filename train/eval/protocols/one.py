"""What was measured of one field of one picture."""

from dataclasses import dataclass

import numpy as np


@dataclass
class One:
    """metrics: by name; pixels: how many counted; angles: of normals, (pixels,) degrees; scale, shift: that carry a
    relative answer onto the truth; metres: (H, W), what comes of it, where depth is measured in metres; agrees: the
    correlation of log metres said and true, 1 where they were fitted, NaN where either is flat"""

    metrics: dict[str, float]
    pixels: int
    angles: np.ndarray | None = None
    scale: float = 1.0
    shift: float = 0.0
    metres: np.ndarray | None = None
    agrees: float = float("nan")
