"""Mean squared error of depth after a scale-and-shift fit of each image.

    1/M sum_i (s p_i + t - d_i)^2      (s, t) from `david.train.losses.alignment`, M valid pixels

Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 3 with the squared error, there divided by
2 M; the depth loss of DAViD (Saleh et al., ICCV 2025, section 4).
"""

import torch

from david.train.losses.alignment import align
from david.train.losses.masked import mean, wide

LEAST_CORRELATION = 0.1


def ssi_mse(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit^2."""
    residual = align(prediction, target, valid, LEAST_CORRELATION) - wide(target)
    return mean(residual * residual, valid)
