"""Images and alpha on a device, a batch at a time: the counterpart of `images.py`, within a step of rounding.

Legend: B samples, C channels, H rows, W columns of the batch, h, w of a sample.
"""

import torch
from torch.nn.functional import avg_pool2d, grid_sample

from david.pipeline.engines import effects
from david.pipeline.sampling.draws import Draws


def resample(
    images: torch.Tensor,
    matrices: torch.Tensor,
    sizes: torch.Tensor,
    samples: tuple[int, int],
    height: int,
    width: int,
) -> torch.Tensor:
    """(B, h, w, C) uint8 to (B, C, height, width) float32; what lies beyond a sample's border repeats it.

    matrices: (B, 2, 3) float64; sizes: (B, 2), of each sample, in h and w; samples: as `Placement`'s, of all"""
    _, h, w, _ = images.shape
    down, across = samples
    x = (torch.arange(width * across, device=images.device, dtype=torch.float64) + 0.5) / across
    y = ((torch.arange(height * down, device=images.device, dtype=torch.float64) + 0.5) / down)[:, None]
    by_x, by_y, start = (part[:, None, None, :] for part in matrices.unbind(dim=2))
    places = by_x * x[:, None] + by_y * y[..., None] + start  # (B, H, W, 2) columns and rows of the sample
    last = sizes.flip(1)[:, None, None, :].double() - 0.5
    places = places.clamp(min=0.5).minimum(last)
    grid = (places * 2 / torch.tensor([w, h], device=images.device) - 1).float()
    values = images.permute(0, 3, 1, 2).float()
    placed = grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return avg_pool2d(placed, (down, across)) if (down, across) != (1, 1) else placed


def paint(images: torch.Tensor, colours: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) float32 and (B, 3, 4) float32 to uint8, channels-last in memory."""
    by_channel = colours[:, :, :, None, None]  # no matrix product: one may be rounded to TF32
    coloured = by_channel[:, :, 3] + by_channel[:, :, 0] * images[:, :1]
    coloured = coloured + by_channel[:, :, 1] * images[:, 1:2] + by_channel[:, :, 2] * images[:, 2:]
    return rounded(coloured).contiguous(memory_format=torch.channels_last)


def rounded(values: torch.Tensor) -> torch.Tensor:
    """To the nearest uint8."""
    return values.round().clamp(0, 255).to(torch.uint8)


def degrade(images: torch.Tensor, draws: Draws) -> None:
    """Blur, noise and JPEG's losses of the samples that have any, in place on (B, 3, H, W) uint8."""
    for slot in draws.degraded().nonzero()[0].tolist():
        drawn = float(draws.blur[slot]), float(draws.noise[slot]), int(draws.noise_key[slot]), int(draws.quality[slot])
        images[slot] = effects.degrade(images[slot], *drawn)
