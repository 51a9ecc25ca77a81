"""What `_planes.c` offers; `planes.join` tells what it means."""

import numpy as np

def join(
    planes: np.ndarray,
    P: int,
    h: int,
    w: int,
    where: np.ndarray,
    cosine: float,
    sine: float,
    flip: bool,
    program: bytes,
    filled: tuple[np.ndarray, ...],
    H: int,
    W: int,
    lz4_decompress_safe: int = ...,
    packed: tuple[memoryview, ...] = ...,
    outs: tuple[np.ndarray, ...] = ...,
    /,
) -> float | None: ...
