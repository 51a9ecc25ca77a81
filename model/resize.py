"""Bilinear resizing of feature maps, one convention for the whole network.

Pixels are squares whose centres lie at half-integers (`align_corners=False`), as in image resizing: a map keeps its
place in the image whatever its size, and a network trained at one size means the same at another.
"""

import torch
import torch.nn.functional as F


def resize(x: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size); x itself where the size is right already."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
