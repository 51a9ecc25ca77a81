"""What `_depth.c` offers; `codecs.normalise_depth` tells what it means."""

import numpy as np

def normalise(depth_cm: np.ndarray, valid: np.ndarray, relative: np.ndarray, /) -> tuple[float, float]: ...
