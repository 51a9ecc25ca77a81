"""What `_members.c` offers; `members.py` tells what it means."""

import numpy as np

def load(
    xxh3_64bits: int, handle: int, most: int, data: memoryview, spans: np.ndarray, begin: int, /
) -> tuple[int, bool]: ...
def inflate(lz4_decompress_safe: int, members: tuple[memoryview, ...], outs: tuple[np.ndarray, ...], /) -> bool: ...
