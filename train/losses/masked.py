"""Sums and means over the valid pixels of each image.

B images, C channels, H rows, W columns.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from david.model.kept import zero


def wide(values: torch.Tensor) -> torch.Tensor:
    """`values` in float32, or float64 where they already are: what losses and fits are computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def count(valid: torch.Tensor) -> torch.Tensor:
    """The number of valid pixels (B, 1, H, W) bool of each image, 1 where there is none: (B,) int64."""
    return valid.sum((1, 2, 3)).clamp(min=1)


def within(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """`values`, 0 where not valid, which is bool and as large or has an axis of 1."""
    return torch.where(valid, values, zero(values))


def total(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Sum of values (B, C, H, W) where valid (B, 1, H, W) bool: (B,)."""
    return _Total.apply(values, valid)  # pyright: ignore[reportReturnType]


def mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of values (B, C, H, W) where valid (B, 1, H, W) bool, summed over channels: (B,)."""
    return total(values, valid) / count(valid)


class _Total(torch.autograd.Function):
    """By hand, since autograd makes a 0 anew on the way back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(valid)
        ctx.shape = values.shape
        return within(values, valid).sum((1, 2, 3))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,), (valid,) = gradients, ctx.saved_tensors
        return within(gradient.view(-1, 1, 1, 1), valid).expand(ctx.shape), None
