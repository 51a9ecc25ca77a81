"""Binary cross-entropy of a soft mask.

    1/M sum_i -a_i log q_i - (1 - a_i) log(1 - q_i)      q = sigmoid(logit)

Computed from logits (log-sum-exp), so that no probability is rounded to 0 or 1. Smallest, though not 0, at q = a.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import mean, wide


def bce(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """logits, target: (B, 1, H, W), target in [0, 1]; valid: (B, 1, H, W) bool. Returns (B,) in nats."""
    return mean(F.binary_cross_entropy_with_logits(wide(logits), wide(target), reduction="none"), valid)
