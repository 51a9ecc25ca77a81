"""What a head's output becomes before it is compared, and what a target does.

A view takes (output, target, valid) and gives what it makes of the output, once for all losses that ask for it. A view
of a target takes (target, batch) and gives another. B images, C channels, H rows, W columns.
"""

import torch

from david.pipeline.batch import Batch, Target
from david.train.losses.alignment import LEAST_CORRELATION, align
from david.train.losses.masked import wide, within

LEAST_M = 1e-3


def as_said(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return wide(output)


def probability(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Of logits."""
    return wide(output).sigmoid()


def fitted(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Relative depth carried onto its target."""
    return align(output, target, valid, LEAST_CORRELATION)


def nearness(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Of metres: their logarithm, negated, so that points compare by the ratio of their depths."""
    return -wide(output).clamp(min=LEAST_M).log()


def as_stored(target: Target, batch: Batch) -> Target:
    """What it means, float32 or better: bytes are shares of 255, all else is what it is."""
    value = target.value / 255 if target.value.dtype == torch.uint8 else wide(target.value)
    return Target(value, target.valid)


def metres(target: Target, batch: Batch) -> Target:
    """Depth of a batch, float16 within the range of its sample, in metres, float32; 0 where invalid."""
    offset, scale = (x.view(-1, 1, 1, 1).float() for x in (batch.depth_offset_m, batch.depth_scale_m))
    return Target(within(target.value.float() * scale + offset, target.valid), target.valid)


def disparity(target: Target, batch: Batch) -> Target:
    """Depth of a batch as 1 / metres, in shares of each image's largest, float32; 0 where invalid."""
    depth = metres(target, batch)
    valid = depth.valid & (depth.value > 0)
    inverse = torch.where(valid, 1 / torch.where(valid, depth.value, 1), 0)
    most = inverse.amax((1, 2, 3), keepdim=True)
    return Target(inverse / torch.where(most > 0, most, 1), valid)


def pairs(batch: Batch) -> Target:
    """The pairs of points of a batch, (B, P, 2, 2), and which lie wholly in their images, (B, P) bool."""
    height, width = batch.image.shape[-2:]
    column, row = batch.pairs[..., 0], batch.pairs[..., 1]
    valid = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return Target(batch.pairs, valid.all(-1))
