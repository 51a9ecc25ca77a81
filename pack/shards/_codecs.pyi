"""What `_codecs.c` offers; `codecs.normalise_depth`, `codecs.split_normals` and `pixels.clean` tell what it means."""

import numpy as np

def normalise(depth: np.ndarray, valid: np.ndarray, relative: np.ndarray, /) -> tuple[float, float]: ...
def split(x: np.ndarray, y: np.ndarray, z: np.ndarray, valid: np.ndarray, planes: np.ndarray, /) -> None: ...
def judge(
    depth: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    valid: np.ndarray,
    normals_valid: np.ndarray,
    /,
) -> tuple[float, float]: ...
