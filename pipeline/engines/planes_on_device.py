"""Byte planes on a device, a batch at a time, samples of any sizes: the counterpart of `planes.py`, to the same bits.

Legend: B samples, L bytes of the largest, H rows, W columns of the batch, h, w of a sample.
"""

import torch

from david.pipeline.engines.planes import CENTRE, INFINITY, LARGEST, MAGNITUDE, SKY
from david.pipeline.sampling.placement import ONE


def under(where: torch.Tensor, sizes: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which pixel of its sample lies under each of a batch's: its index row by row, (B, height * width) int64, and
    whether there is one, (B, 1, height, width) bool; else the index is the nearest pixel's.

    where: (B, 2, 3) int64, `Placement.where`; sizes: (B, 2) int64, h and w"""
    x = torch.arange(width, device=where.device)
    y = torch.arange(height, device=where.device)[:, None]
    by_x, by_y, start = (part[:, :, None, None] for part in where.unbind(dim=2))
    columns, rows = torch.div(by_x * x + by_y * y + start, ONE, rounding_mode="floor").unbind(dim=1)
    h, w = (part[:, None, None] for part in sizes.unbind(dim=1))
    within = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    nothing = torch.zeros_like(rows)
    pixels = rows.clamp(nothing, h - 1) * w + columns.clamp(nothing, w - 1)
    return pixels.flatten(1), within[:, None]


def gather(stored: torch.Tensor, starts: torch.Tensor, pixels: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """One plane of each sample, placed: (B, 1, H, W) int16, 0 .. 255; 255 where there is nothing.

    stored: (B, L) uint8; starts: (B,) int64, where the plane begins; pixels, within: as `under` gives them"""
    at = (pixels + starts[:, None]).clamp(max=stored.shape[1] - 1)  # of a sample that has no such plane, anywhere
    picked = stored.gather(1, at).view(within.shape)
    return picked.to(torch.int16).masked_fill(~within, 255)


def images(stored: torch.Tensor, starts: torch.Tensor, sizes: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """One plane of each sample as it is: (B, height, width, 1) uint8, beyond a sample whatever stands there.

    height, width: at least the largest sample's; the rest as `gather` has it"""
    rows = torch.arange(height, device=stored.device)[:, None]
    columns = torch.arange(width, device=stored.device)
    at = starts[:, None, None] + rows * sizes[:, 1, None, None] + columns
    return stored.gather(1, at.clamp(max=stored.shape[1] - 1).flatten(1)).view(len(stored), height, width, 1)


def f16(high: torch.Tensor, low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes (B, 1, H, W) int16 to float16 values, and which of them are valid."""
    bits = high << 8 | low
    return bits.view(torch.float16), (bits & MAGNITUDE) < INFINITY


def relative(high: torch.Tensor, low: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `f16`, of values without a unit, float32. known: (B, 2) float32, `layout.constants` of each sample"""
    stored, valid = f16(high, low)
    centre, factor = (part[:, None, None, None] for part in known.unbind(dim=1))
    return stored.float() * factor + centre, valid


def u16(high: torch.Tensor, low: torch.Tensor, known: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `f16`, of whole steps. known: (B, 2) float32, `layout.constants` of each sample"""
    steps = high.int() << 8 | low.int()
    centre, factor = (part[:, None, None, None] for part in known.unbind(dim=1))
    values = ((steps.float() - centre) * factor).clamp(-LARGEST, LARGEST)
    return values.half(), (steps != 0) & (steps != SKY)


def octahedral(
    tops: torch.Tensor, u: torch.Tensor, v: torch.Tensor, turns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes (B, 1, H, W) int16 to (B, 3, H, W) float16 unit vectors, and which of them are valid.

    turns: (B, 3) float32, cosine and sine of each sample's turn, and -1 where X is negated after it, else 1"""
    valid = (tops & u & v) != 255
    a, b = ((tops >> 4) << 8 | u) - CENTRE, ((tops & 15) << 8 | v) - CENTRE
    up = CENTRE - a.abs() - b.abs()
    fold = up.clamp(max=0)
    x, y, z = (a.abs() + fold).float(), (b.abs() + fold).float(), up.float()
    length = (x * x + y * y + z * z).double().sqrt().float()  # correctly rounded anywhere
    scale = 1 / length
    x, y = x * torch.where(a < 0, -scale, scale), y * torch.where(b < 0, -scale, scale)
    cosine, sine, mirror = (part[:, None, None, None] for part in turns.unbind(dim=1))
    return torch.cat([(x * cosine - y * sine) * mirror, x * sine + y * cosine, z * scale], dim=1).half(), valid
