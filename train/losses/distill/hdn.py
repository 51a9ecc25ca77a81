"""Hierarchical normalisation: two depths compared within sets of pixels, each by its own scale and shift.

    n(x)_i = (x_i - m_c) / (1/(M_c + 1) sum_c |x_j - m_c| + 1e-6)      m_c the median of context c, M_c its pixels
    1/M sum_i 1/|C_i| sum_{c in C_i} |n_c(s)_i - n_c(t)_i|              C_i the contexts of pixel i

Zhang et al., NeurIPS 2022, eq. 4 and 5, with the denominator of its code; He et al., "Distill Any Depth", 2025, whose
hybrid normalisation is that over 1, 2 and 4 segments of the teacher's depth, and whose local one is that over 4. What
the contexts are is told in `contexts.py`.

B images, N pixels of an image, K contexts of a level.
"""

from collections.abc import Sequence

import torch

from david.train.losses.distill import contexts
from david.train.losses.distill.normalised import LEAST, medians
from david.train.losses.masked import mean, wide


def hdn(
    prediction: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    parts: Sequence[int] = contexts.HYBRID,
    by: str = "ranges",
) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth of any scale and shift; valid: (B, 1, H, W) bool; parts: of each level;
    by: a row of `contexts.CONTEXTS`, made of the target, which counts as a constant. Returns (B,), in mean distances
    from a context's median."""
    labels = contexts.CONTEXTS[by](target, valid, parts)
    s, t = (torch.where(valid, wide(x), 0).flatten(1) for x in (prediction, target))
    levels = [
        (in_context(s, members) - in_context(t, members)).abs()
        for members in contexts.members(labels, parts, by == "grids")
    ]
    return mean(torch.stack(levels).mean(0).view(prediction.shape), valid)


def in_context(values: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """Each pixel by the scale and the shift of its context. values: (B, N); members: (B, K, N) bool, no pixel in two.
    Returns (B, N), 0 where a pixel is in none."""
    middle = laid_out(medians(values, members), members)
    away = (values - middle).abs().unsqueeze(1)
    spread = torch.where(members, away, 0).sum(2) / (members.sum(2) + 1) + LEAST
    there = members.any(1)
    return torch.where(there, (values - middle) / torch.where(there, laid_out(spread, members), 1), 0)


def laid_out(of_each: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """(B, K), what each context has, to its pixels: (B, N), 0 where a pixel is in none."""
    return torch.where(members, of_each.unsqueeze(2), 0).sum(1)
