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


def antialiased(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), smoothed where it shrinks, so that what is finer than a pixel there is averaged.

    In an export it is the same sum as two products with matrices: ONNX's own antialiased Resize means other weights."""
    if image.shape[-2:] == size:
        return image
    if torch.compiler.is_exporting():
        down, across = (_triangles(have, want, image) for have, want in zip(image.shape[-2:], size, strict=True))
        return down @ image @ across.T
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)


def _triangles(have: int, want: int, like: torch.Tensor) -> torch.Tensor:
    """(want, have): the share that each pixel there takes of each one here. A triangle around its centre, as wide as
    two of the larger of both kinds of pixels, cut at the border and scaled to a sum of one (Pillow's, and torch's)."""
    scale = have / want
    centres = (torch.arange(want, device=like.device, dtype=like.dtype) + 0.5) * scale
    places = torch.arange(have, device=like.device, dtype=like.dtype) + 0.5
    weights = (1 - (places - centres[:, None]).abs() / max(scale, 1.0)).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)
