"""Mean absolute error.

1/M sum_i |p_i - a_i|      over the M valid pixels
"""

import torch

from david.train.losses.masked import mean, wide


def l1(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Returns (B,) in the target's unit."""
    return mean((wide(prediction) - wide(target)).abs(), valid)
