"""Sums and means over the valid pixels of each image.

B images, C channels, H rows, W columns.
"""

import torch


def wide(values: torch.Tensor) -> torch.Tensor:
    """`values` in float32, or float64 where they already are: what losses and fits are computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def count(valid: torch.Tensor) -> torch.Tensor:
    """The number of valid pixels (B, 1, H, W) bool of each image, 1 where there is none: (B,) int64."""
    return valid.sum((1, 2, 3)).clamp(min=1)


def total(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Sum of values (B, C, H, W) where valid (B, 1, H, W) bool: (B,)."""
    return torch.where(valid, values, 0).sum((1, 2, 3))


def mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of values (B, C, H, W) where valid (B, 1, H, W) bool, summed over channels: (B,)."""
    return total(values, valid) / count(valid)
