"""How a subject is asked what it says of a picture, where depth is measured in metres.

What a network says comes back to the picture's size bilinearly, its corner pixels on the picture's (`align_corners`),
as the codes of Depth Anything V2 and ZoeDepth bring it there. H, W: of the picture; h, w: of what the network sees.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from david.model.predict.fit import Prepared
from david.model.predict.predictor import Predictor

FLIPPED = ("metric_depth_m", "relative_disparity", "relative_depth")  # which a mirror image changes in place alone


def answer(subject: Any, rgb: np.ndarray, corners: bool, flip: bool) -> Mapping[str, np.ndarray]:
    """What a subject says of (H, W, 3) uint8, by field. corners: depth comes back by its corners; flip: depth is the
    mean of what is said of the picture and of its mirror image, and other fields are left out."""
    said = _once(subject, rgb, corners)
    if not flip:
        return said
    other = _once(subject, np.ascontiguousarray(rgb[:, ::-1]), corners)
    return {name: (said[name] + other[name][:, ::-1]) / 2 for name in FLIPPED if name in said}


def _once(subject: Any, rgb: np.ndarray, corners: bool) -> Mapping[str, np.ndarray]:
    if not corners or not isinstance(subject, Predictor):
        return subject.predict(rgb)
    prepared = subject.prepare(rgb)
    (said,) = subject.infer([prepared])
    return {name: by_corners(values, prepared) for name, values in said.items() if len(values) == 1}


def by_corners(values: np.ndarray, prepared: Prepared) -> np.ndarray:
    """(1, h, w) of what the network saw, to (H, W)."""
    height, width = prepared.shape
    top, left, size = 0, 0, (height, width)
    if prepared.fit == "square":
        side = max(height, width)
        top, left, size = (side - height) // 2, (side - width) // 2, (side, side)
    whole = F.interpolate(torch.from_numpy(values)[None].float(), size, mode="bilinear", align_corners=True)
    return whole[0, 0, top : top + height, left : left + width].numpy()
