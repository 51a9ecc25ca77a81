"""Mean absolute error of depth after a scale-and-shift fit of each image.

    1/M sum_i |s p_i + t - d_i|      (s, t) from `david.train.losses.alignment`, M valid pixels

Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 3 with the absolute error, there
divided by 2 M. The fit is the closed form by least squares (eq. 4), the same as under `ssi_mse`; not the paper's robust
variant, which takes medians for the shift and leaves out the largest fifth of the residuals (eq. 5 to 7): rendered
depth has no outliers.
"""

import torch

from david.train.losses.alignment import align
from david.train.losses.masked import mean, wide
from david.train.losses.ssi_mse import LEAST_CORRELATION


def ssi_l1(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit."""
    return mean((align(prediction, target, valid, LEAST_CORRELATION) - wide(target)).abs(), valid)
