"""Scale-invariant error of log depth, as ZoeDepth trains with it.

    10 sqrt(var(d) + 0.15 mean(d)^2)      d_i = log(p_i + e) - log(t_i + e),  e = 1e-7,  var unbiased: over M - 1

Bhat et al., "ZoeDepth", 2023, section 4, after AdaBins (Bhat et al., CVPR 2021, eq. 4) and Eigen et al., NeurIPS 2014,
eq. 4. ZoeDepth pools the pixels of a batch; here each image is by itself, so that its loss depends neither on its
company nor on how ranks share the batch. The two agree for batches of one.
"""

import torch

from david.train.losses.masked import mean, total, wide, within

BETA, FACTOR, EPS = 0.15, 10.0, 1e-7


def log_ratio(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, eps: float = EPS) -> torch.Tensor:
    """log(prediction + eps) - log(target + eps), 0 where invalid, with no gradient there. What is below 0 counts as
    0. (B, 1, H, W), float32 or better."""
    p, t = (torch.where(valid, wide(depth), 1).clamp(min=0) + eps for depth in (prediction, target))
    return within(p.log() - t.log(), valid)


def root(square: torch.Tensor) -> torch.Tensor:
    """The square root, whose gradient is 0 at 0 and below."""
    above = square > 0
    return torch.where(above, torch.where(above, square, 1).sqrt(), 0)


def zoe_silog(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth above 0 in one unit; valid: (B, 1, H, W) bool. Returns (B,).

    The variance of a single pixel is 0."""
    d = log_ratio(prediction, target, valid)
    middle = mean(d, valid)
    apart = d - middle.view(-1, 1, 1, 1)
    variance = total(apart * apart, valid) / (valid.flatten(1).sum(1) - 1).clamp(min=1)
    return FACTOR * root(variance + BETA * middle * middle)
