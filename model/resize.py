"""Bilinear resizing of feature maps, one convention for the whole network.

Pixels are squares whose centres lie at half-integers (`align_corners=False`), as in image resizing: a map keeps its
place in the image whatever its size, and a network trained at one size means the same at another.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from david.model.kept import kept

Size = torch.Size | tuple[int, int]


def resize(x: torch.Tensor, size: Size) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size); x itself where the size is right already.

    torch's own backward adds each gradient to four pixels where others add too, on a GPU atomically: slow, and in
    another order each time; compiled it is an accumulating `index_put`. Here it is `spread_back`, which gathers. A CPU
    adds without atomics, one channel a thread, and stays with torch's."""
    if x.shape[-2:] == size:
        return x
    if torch.compiler.is_exporting() or not (x.device.type == "cuda" or torch.compiler.is_compiling()):
        return _interpolate(x, size)
    return _Resize.apply(x, size)  # pyright: ignore[reportReturnType]


def _interpolate(x: torch.Tensor, size: Size) -> torch.Tensor:
    """In x's own precision: autocast would give float32, twice the bytes of all maps that are made of it."""
    with exact_on(x.device):
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def exact_on(device: torch.device) -> AbstractContextManager:
    """Meanwhile nothing is autocast on a device; `meta` has no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class _Resize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, size: Size) -> torch.Tensor:
        ctx.size = x.shape[-2:]
        return _interpolate(x, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return spread_back(gradients[0], ctx.size), None


def spread_back(gradient: torch.Tensor, size: Size) -> torch.Tensor:
    """The gradient (B, C, H, W) of what was resized to H x W, carried back to (B, C, *size) from where it was resized.

    Each pixel gathers what it gave: nothing is added atomically. Compiled, and exactly twice as large, from slices,
    which become one kernel; otherwise by the matrices of the resize, an axis at a time, two products."""
    (h, w), (high, wide) = size, gradient.shape[-2:]
    if torch.compiler.is_compiling() and (high, wide) == (2 * h, 2 * w):
        return _halved(_halved(gradient, 2), 3)
    x = gradient.permute(0, 2, 3, 1).contiguous()  # channels-last maps are that already
    b, channels = x.shape[0], x.shape[-1]
    if high != h:
        x = torch.bmm(kept(_shares, h, high, like=x).T.expand(b, -1, -1), x.view(b, high, wide * channels))
    if wide != w:
        x = torch.bmm(kept(_shares, w, wide, like=x).T.expand(b * h, -1, -1), x.view(b * h, wide, channels))
    return x.view(b, h, w, channels).permute(0, 3, 1, 2)


def _halved(g: torch.Tensor, axis: int) -> torch.Tensor:
    """The gradient of what was enlarged twice along an axis. Pixel i gave 3/4 to 2 i and 2 i + 1 and 1/4 to one on each
    side of these; at a border what has no neighbour took the rest from its own."""
    even, odd = (g.narrow(axis, k, g.shape[axis] - 1).unfold(axis, 1, 2).squeeze(-1) for k in (0, 1))
    n = even.shape[axis]
    before = torch.cat([even.narrow(axis, 0, 1), odd.narrow(axis, 0, n - 1)], axis)
    after = torch.cat([even.narrow(axis, 1, n - 1), odd.narrow(axis, n - 1, 1)], axis)
    return 0.75 * (even + odd) + 0.25 * (before + after)


def _shares(have: int, want: int, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """(want, have): the share that each pixel there takes of each one here."""
    one_each = torch.eye(have, device=device, dtype=dtype)
    return _interpolate(one_each[None, None], (want, have))[0, 0]


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
