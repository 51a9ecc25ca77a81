"""How far median and spread of a depth have moved from those of another, which is to stay where it was.

    |m(s) - m(b)| / a(b) + |log(a(s) / a(b))|      m the median, a the mean distance from it, b what was said before

Losses between normalised depths know neither, so a student's scale drifts while they fall; users of Distill-Any-Depth
have seen it. This term is chosen here. B images.
"""

import torch

from david.train.losses.distill.normalised import LEAST, middle_and_spread


def hold(prediction: torch.Tensor, before: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, before: (B, 1, H, W) depth in one unit; valid: (B, 1, H, W) bool. Returns (B,)."""
    middle, spread = middle_and_spread(prediction, valid)
    middle_before, spread_before = middle_and_spread(before, valid)
    moved = (middle - middle_before).abs() / spread_before.clamp(min=LEAST)
    return moved + (spread.clamp(min=LEAST) / spread_before.clamp(min=LEAST)).log().abs()
