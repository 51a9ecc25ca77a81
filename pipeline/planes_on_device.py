"""Byte planes on a device: what `planes.py` does, for a whole batch of tensors, and to the same bits.

Legend: B samples, P planes, H rows, W columns of the batch, h, w of a sample.
"""

import torch

from david.pack.schema import BLOCK_BYTES, PLANES, blocks
from david.pipeline.planes import CENTRE, INFINITY, MAGNITUDE, SIGN, nearest


def split(data: torch.Tensor, height: int, width: int, padded: bool) -> torch.Tensor:
    """The bytes of depth and normals, one member behind the other, (B, bytes) uint8, to (B, 5, height, width).

    padded: whether each member fills whole blocks"""
    members, start = [], 0
    for count in (PLANES["depth"], PLANES["normals"]):
        size = count * height * width
        members.append(data[:, start : start + size].view(-1, count, height, width))
        start += blocks(height, width, count) * BLOCK_BYTES if padded else size
    return torch.cat(members, dim=1)


def warp(planes: torch.Tensor, height: int, width: int, flip: torch.Tensor) -> torch.Tensor:
    """(B, P, h, w) uint8 to (B, P, height, width) by nearest neighbour, mirrored where flip (B,) bool."""
    rows, columns = (
        torch.from_numpy(nearest(source, target)).to(planes.device)
        for source, target in zip(planes.shape[-2:], (height, width), strict=True)
    )
    planes = planes[:, :, rows][:, :, :, columns]
    return torch.where(flip[:, None, None, None], planes.flip(-1), planes)


def join(planes: torch.Tensor, flip: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, 5, H, W) uint8 to depth (B, 1, H, W) float16, valid (B, 1, H, W) bool and normals (B, 3, H, W) float16.

    flip: (B,) bool, negate X; depth and normals are 0 where invalid"""
    high, low, tops, u, v = planes.to(torch.int16).split(1, dim=1)
    bits = high << 8 | low
    valid = (bits & MAGNITUDE) <= INFINITY
    depth = (bits * valid).view(torch.float16)

    x, y = ((tops >> 4) << 8 | u) - CENTRE, ((tops & 15) << 8 | v) - CENTRE
    z = CENTRE - x.abs() - y.abs()
    fold = z.clamp(max=0)
    vectors = torch.cat([x.abs() + fold, y.abs() + fold, z], dim=1).float()
    squares = vectors * vectors
    length = (squares[:, 0:1] + squares[:, 1:2] + squares[:, 2:3]).double().sqrt().float()  # correctly rounded anywhere
    normals = (vectors * (valid / length)).half()
    signs = torch.cat([torch.where(flip[:, None, None, None], ~x, x), y], dim=1) & SIGN
    normals[:, :2].view(torch.int16).bitwise_or_(signs)
    return depth, valid, normals
