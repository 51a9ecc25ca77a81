"""What `_members.c` offers; `members.py` tells what it means."""

import numpy as np

def check(xxh3_64bits: int, data: memoryview, spans: np.ndarray, begin: int, /) -> bool: ...
def inflate(
    lz4_decompress_safe: int,
    alpha: memoryview,
    depth: memoryview,
    normals: memoryview,
    alpha_out: np.ndarray,
    planes_out: np.ndarray,
    /,
) -> bool: ...
