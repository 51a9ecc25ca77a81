"""Where teacher and student look, as a function of (seed, epoch, sample) alone.

shared context  the same random square for both, resized to one size
local, global   the teacher sees a window of the image; the student all of it, `shrink` times smaller, and of what it
                says the part that is the same window. Windows overlap and cover the image; which one is drawn

He et al., "Distill Any Depth", 2025 (arXiv 2502.19204), section 3. Corners of windows are multiples of `shrink`, so
that they are whole pixels in both frames. Everything stays on the image's device, and nobody waits for it.

B images, H rows, W columns. The pixel in row i covers [i, i + 1).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from david.pipeline.batch import Batch, Target
from david.train.distill.words import below, words

PURPOSE = 4  # the part of the Philox counter that keeps these words apart from others
SIDE, ROW, COLUMN, WINDOW = range(4)  # each its word


class Square(NamedTuple):
    """A square of each image in whole pixels: (B,) int64 each"""

    top: torch.Tensor
    left: torch.Tensor
    side: torch.Tensor

    def smaller(self, times: int) -> "Square":
        """The same where the image is so many times smaller; of sides and corners that are multiples."""
        return Square(*(each // times for each in self))


def shared(seed: int, epochs: torch.Tensor, ids: torch.Tensor, size: tuple[int, int], least: int) -> Square:
    """A random square within images of (H, W), its side `least` up to the shorter of both. epochs, ids: (B,) int64"""
    drawn = words(seed, ids, 0, epochs, PURPOSE)
    side = least + below(drawn[SIDE], min(size) - least + 1)
    top, left = (drawn[word] * (length - side + 1) >> 32 for word, length in zip((ROW, COLUMN), size, strict=True))
    return Square(top, left, side)


def window(seed: int, epochs: torch.Tensor, ids: torch.Tensor, size: tuple[int, int], side: int, shrink: int) -> Square:
    """One of the windows of `side` pixels that cover images of (H, W), see `places`."""
    drawn = words(seed, ids, 0, epochs, PURPOSE)
    down, across = (count(length, side) for length in size)
    number = below(drawn[WINDOW], down * across)
    top, left = places(number // across, size[0], side, shrink), places(number % across, size[1], side, shrink)
    return Square(top, left, torch.full_like(top, side))


def count(length: int, side: int) -> int:
    """How many windows along an axis: one more than fit beside each other, so that they overlap."""
    return 1 if length == side else length // side + 1


def places(number: torch.Tensor, length: int, side: int, shrink: int) -> torch.Tensor:
    """Where the windows of these numbers begin along an axis: evenly spread, at multiples of `shrink`."""
    return (length - side) * number // max(1, count(length, side) - 1) // shrink * shrink


def cropped(image: torch.Tensor, square: Square, size: int) -> torch.Tensor:
    """The square of each image, (B, C, H, W) uint8, resized to (B, C, size, size) uint8: antialiased where that is
    smaller, and to the bit what a slice is where it is the same."""
    found = cut(image.float(), square, size).round().clamp(0, 255)
    return found.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def cut(values: torch.Tensor, square: Square, size: int) -> torch.Tensor:
    """As `cropped`, of float32 that is not rounded. Two products with matrices, whose gradient adds nothing atomically;
    of ones and zeros where nothing is resized, so exact."""
    height, width = values.shape[-2:]
    down, across = shares(square.top, square.side, height, size), shares(square.left, square.side, width, size)
    return down.unsqueeze(1) @ values @ across.transpose(1, 2).unsqueeze(1)


def shares(start: torch.Tensor, side: torch.Tensor, length: int, size: int) -> torch.Tensor:
    """(B, size, length) float32: the share that each pixel of a crop takes of each one of its image: a triangle about
    its centre, as wide as two of the larger of both kinds of pixels, cut at the crop's border and scaled to a sum of
    one."""
    scale = (side / size).view(-1, 1, 1)
    centres = (torch.arange(size, device=start.device).view(1, -1, 1) + 0.5) * scale
    places = torch.arange(length, device=start.device).view(1, 1, -1) - start.view(-1, 1, 1)
    weights = (1 - (places + 0.5 - centres).abs() / scale.clamp(min=1)).clamp(min=0)
    weights = torch.where((places >= 0) & (places < side.view(-1, 1, 1)), weights, 0)
    return weights / weights.sum(2, keepdim=True)


def shrunk(values: torch.Tensor, times: int) -> torch.Tensor:
    """(B, C, H, W) to (B, C, H / times, W / times): the mean of each block of pixels, rounded for uint8."""
    if times == 1:
        return values
    means = F.avg_pool2d(values.float(), times)
    return means.round().to(torch.uint8) if values.dtype == torch.uint8 else means


def targets(batch: Batch, square: Square, size: int) -> dict[str, Target]:
    """The same square of each target, the nearest pixel of it: nothing invalid is mixed with anything."""
    steps = (2 * torch.arange(size, device=square.top.device) + 1)[None]
    rows, columns = (start[:, None] + steps * square.side[:, None] // (2 * size) for start in square[:2])
    image = torch.arange(len(batch), device=rows.device)[:, None, None]

    def at(values: torch.Tensor) -> torch.Tensor:
        return values.movedim(1, -1)[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)

    return {name: Target(at(one.value), at(one.valid)) for name, one in batch.targets.items()}
