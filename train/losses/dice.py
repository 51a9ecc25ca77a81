"""Dice distance of a soft mask.

    1 - (2 sum_i p_i a_i + e) / (sum_i p_i^2 + sum_i a_i^2 + e)      e = 1 pixel

which is sum_i (p_i - a_i)^2 over the same denominator, and is computed so. Milletari et al., "V-Net", 3DV 2016,
section 3. With squares in the denominator it is 0 exactly at p = a, for soft masks too; e makes an image without
foreground well-defined.
"""

import torch

from david.train.losses.masked import total, wide


def dice(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) in [0, 1]; valid: (B, 1, H, W) bool. Returns (B,) in [0, 1]."""
    p, a = wide(prediction), wide(target)
    apart = p - a
    return total(apart * apart, valid) / (total(torch.addcmul(a * a, p, p), valid) + 1)
