"""Mean squared error.

    1/M sum_i (p_i - d_i)^2      over the M valid pixels

After the fit of `alignment` it is MiDaS's (Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022,
eq. 3 with the squared error, there divided by 2 M), and the depth loss of DAViD (Saleh et al., ICCV 2025, section 4).
"""

import torch

from david.train.losses.masked import mean, wide


def mse(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Returns (B,) in the target's unit^2."""
    residual = wide(prediction) - wide(target)
    return mean(residual * residual, valid)
