"""What `_normals.c` offers; `codecs.split_normals` tells what it means."""

import numpy as np

def split(x: np.ndarray, y: np.ndarray, z: np.ndarray, valid: np.ndarray, planes: np.ndarray, /) -> None: ...
