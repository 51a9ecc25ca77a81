"""Multi-scale gradient matching of depth; of relative depth after the fit of `alignment`.

    sum_k 1/M_k sum_i |dx R_i^k| + |dy R_i^k|      R = p - d,  k = 0 .. 3, every 2^k-th pixel

A difference counts where both of its pixels are valid; M_k is the number of such pairs along x, and along y.
Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 11; after Li and Snavely, "MegaDepth",
CVPR 2018, section 4.
"""

import torch

from david.train.losses.masked import mean, wide

SCALES = 4


def gradient_matching(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit."""
    residual = wide(prediction) - wide(target)
    loss = residual.new_zeros(len(residual))
    for k in range(SCALES):
        r, v = residual[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
        loss = loss + mean((r[..., 1:] - r[..., :-1]).abs(), v[..., 1:] & v[..., :-1])
        loss = loss + mean((r[..., 1:, :] - r[..., :-1, :]).abs(), v[..., 1:, :] & v[..., :-1, :])
    return loss
