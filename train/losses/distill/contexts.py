"""Sets of pixels that a hierarchical loss looks at, on several levels; on each, every valid pixel is in exactly one.

    ranges      of the teacher's depth: from its least to its most in S equal parts
    quantiles   of the teacher's depth: S parts of equally many pixels
    grids       of the image: S x S cells

with S = 1, 2, 4: 7 contexts of depth, and 21 cells. Zhang et al., "Hierarchical Normalization for Robust Monocular
Depth Estimation", NeurIPS 2022, section 3.2 (there DR, DP and DS). Its code leaves the upper edge out of each range, so
that the pixel at the end of all of them, the farthest, is in no context; here the last range holds it.

B images, H rows, W columns, N = H W pixels, L levels, K contexts of a level.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from david.train.losses.masked import wide

HYBRID, LOCAL = (1, 2, 4), (4,)  # parts of each level, S


def members(labels: torch.Tensor, parts: Sequence[int], squared: bool) -> Iterator[torch.Tensor]:
    """Each level's contexts, (B, K, N) bool. labels: (B, L, H, W) as the functions here give them; squared: of cells"""
    for level, count in zip(labels.flatten(2).unbind(1), parts, strict=True):
        number = torch.arange(count**2 if squared else count, device=labels.device)
        yield level.unsqueeze(1) == number[:, None]


def ranges(target: torch.Tensor, valid: torch.Tensor, parts: Sequence[int]) -> torch.Tensor:
    """target: (B, 1, H, W); valid: (B, 1, H, W) bool. Returns (B, L, H, W) int64, the context of each pixel on each
    level, counted from the least depth; -1 where invalid."""
    x = wide(target)
    least = torch.where(valid, x, torch.inf).amin((1, 2, 3), keepdim=True)
    most = torch.where(valid, x, -torch.inf).amax((1, 2, 3), keepdim=True)
    share = torch.where(valid & (most > least), (x - least) / (most - least), 0)
    return _labelled([(share * count).long().clamp(0, count - 1) for count in parts], valid)


def quantiles(target: torch.Tensor, valid: torch.Tensor, parts: Sequence[int]) -> torch.Tensor:
    """As `ranges`; of equal depths those that come first in the image go to the lower context."""
    x = torch.where(valid, wide(target), torch.inf).flatten(1)
    rank = x.argsort(dim=1, stable=True).argsort(dim=1).view(target.shape)
    number = valid.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return _labelled([(rank * count // number).clamp(0, count - 1) for count in parts], valid)


def grids(target: torch.Tensor, valid: torch.Tensor, parts: Sequence[int]) -> torch.Tensor:
    """As `ranges`, of S x S cells, row by row; where a side is no multiple of S, some cells are a pixel larger."""
    height, width = target.shape[-2:]
    rows = torch.arange(height, device=target.device)[:, None]
    columns = torch.arange(width, device=target.device)
    return _labelled([rows * count // height * count + columns * count // width for count in parts], valid)


def _labelled(levels: list[torch.Tensor], valid: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.where(valid, level, -1) for level in levels], dim=1)


CONTEXTS: dict[str, Callable[[torch.Tensor, torch.Tensor, Sequence[int]], torch.Tensor]] = {
    "ranges": ranges,
    "quantiles": quantiles,
    "grids": grids,
}
