"""What `_planes.c` offers; `planes.join` tells what it means."""

import numpy as np

def join(
    planes: np.ndarray,
    h: int,
    w: int,
    where: np.ndarray,
    cosine: float,
    sine: float,
    flip: bool,
    depth: np.ndarray,
    valid: np.ndarray,
    normals: np.ndarray,
    normals_valid: np.ndarray,
    H: int,
    W: int,
    /,
) -> None: ...
