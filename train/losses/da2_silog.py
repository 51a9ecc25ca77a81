"""Scale-invariant error of log depth, as Depth Anything V2 trains metric depth with it.

    sqrt(mean(d^2) - 0.5 mean(d)^2)      d_i = log t_i - log p_i

Eigen et al., NeurIPS 2014, eq. 4 with lambda = 0.5, under a root; Yang et al., "Depth Anything V2", NeurIPS 2024, in
the official code's metric training, where a batch's pixels are pooled. Here each image is by itself. Computed from
centred moments, as var(d) + 0.5 mean(d)^2, which is the same and keeps its digits in float32.
"""

import torch

from david.train.losses.masked import mean
from david.train.losses.zoe_silog import log_ratio, root

LAMBDA = 0.5
LEAST = 1e-12  # metres: the official code has nothing against a prediction of 0, whose logarithm is infinite


def da2_silog(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth above 0 in one unit; valid: (B, 1, H, W) bool. Returns (B,)."""
    d = log_ratio(prediction, target, valid, LEAST)
    middle = mean(d, valid)
    apart = d - middle.view(-1, 1, 1, 1)
    return root(mean(apart * apart, valid) + (1 - LAMBDA) * middle * middle)
