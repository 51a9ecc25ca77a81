"""Mean absolute error.

    1/M sum_i |p_i - a_i|      over the M valid pixels

After the fit of `alignment` it is MiDaS's (Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022,
eq. 3 with the absolute error, there divided by 2 M). That fit is the closed form by least squares (eq. 4), not the
paper's robust variant, which takes medians for the shift and leaves out the largest fifth of the residuals (eq. 5 to
7): rendered depth has no outliers.
"""

import torch

from david.train.losses.masked import mean, wide


def l1(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Returns (B,) in the target's unit."""
    return mean((wide(prediction) - wide(target)).abs(), valid)
