"""Byte planes on a device, a batch at a time: the counterpart of `planes.py`, to the same bits.

Legend: B samples, P planes, H rows, W columns of the batch, h, w of a sample.
"""

import torch

from david.pack.shards.schema import BLOCK_BYTES, PLANES, block_count
from david.pipeline.engines.planes import CENTRE, INFINITY, MAGNITUDE
from david.pipeline.sampling.geometry import ONE


def split(data: torch.Tensor, height: int, width: int, padded: bool) -> torch.Tensor:
    """The bytes of depth and normals, one member behind the other, (B, bytes) uint8, to (B, 5, height, width).

    padded: whether each member fills whole blocks"""
    members, start = [], 0
    for count in (PLANES["depth"], PLANES["normals"]):
        size = count * height * width
        members.append(data[:, start : start + size].view(-1, count, height, width))
        start += block_count(height, width, count) * BLOCK_BYTES if padded else size
    return torch.cat(members, dim=1)


def warp(planes: torch.Tensor, where: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, P, h, w) uint8 to (B, P, height, width) by nearest neighbour. where: (B, 2, 3) int64, `Placement.where`."""
    count, _, h, w = planes.shape
    x = torch.arange(width, device=planes.device)
    y = torch.arange(height, device=planes.device)[:, None]
    by_x, by_y, start = (part[:, :, None, None] for part in where.unbind(dim=2))
    columns, rows = torch.div(by_x * x + by_y * y + start, ONE, rounding_mode="floor").unbind(dim=1)
    samples = torch.arange(count, device=planes.device)[:, None, None]
    picked = planes[samples, :, rows.clamp(0, h - 1), columns.clamp(0, w - 1)]  # (B, H, W, P)
    return picked.permute(0, 3, 1, 2)


def join(planes: torch.Tensor, turns: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(B, 5, H, W) uint8 to depth (B, 1, H, W) float16, valid (B, 1, H, W) bool, normals (B, 3, H, W) float16 and
    normals_valid (B, 1, H, W) bool.

    turns: (B, 3) float32, cosine and sine of each sample's turn, and -1 where X is negated after it, else 1; depth
    and normals are 0 where invalid"""
    high, low, tops, u, v = planes.to(torch.int16).split(1, dim=1)
    bits = high << 8 | low
    valid = (bits & MAGNITUDE) <= INFINITY
    depth = (bits * valid).view(torch.float16)

    normals_valid = valid & ((tops & u & v) != 255)
    a, b = ((tops >> 4) << 8 | u) - CENTRE, ((tops & 15) << 8 | v) - CENTRE
    up = CENTRE - a.abs() - b.abs()
    fold = up.clamp(max=0)
    x, y, z = (a.abs() + fold).float(), (b.abs() + fold).float(), up.float()
    length = (x * x + y * y + z * z).double().sqrt().float()  # correctly rounded anywhere
    scale = 1 / length
    x, y = x * torch.where(a < 0, -scale, scale), y * torch.where(b < 0, -scale, scale)
    cosine, sine, mirror = (part[:, None, None, None] for part in turns.unbind(dim=1))
    normals = torch.cat([(x * cosine - y * sine) * mirror, x * sine + y * cosine, z * scale], dim=1).half()
    return depth, valid, normals.masked_fill(~normals_valid, 0), normals_valid
