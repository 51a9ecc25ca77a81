"""L1 distance of Laplacian pyramids: errors along soft edges count at every scale.

    sum_k 2^k 1/M_k sum_i |L^k(p)_i - L^k(a)_i|      k = 0 .. 4

L^k are the band-pass images of a Gaussian pyramid (Burt and Adelson, "The Laplacian Pyramid as a Compact Image Code",
1983), weighted as in Hou and Liu, "Context-Aware Image Matting", ICCV 2019, eq. 3. Halving uses the binomial filter
[1 3 3 1] / 8 and doubling its transpose, which is bilinear interpolation, so that levels stay centred on each other.
The pyramid is linear: the difference is taken first, and set to 0 where invalid. An image too small for a level ends
there.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import mean, wide

LEVELS = 5


def halve(x: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) to (B, 1, H // 2, W // 2), edges repeated."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    x = (x[..., :-3:2] + 3 * x[..., 1:-2:2] + 3 * x[..., 2:-1:2] + x[..., 3::2]) / 8
    return (x[..., :-3:2, :] + 3 * x[..., 1:-2:2, :] + 3 * x[..., 2:-1:2, :] + x[..., 3::2, :]) / 8


def laplacian(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) in [0, 1]; valid: (B, 1, H, W) bool. Returns (B,)."""
    x = torch.where(valid, wide(prediction) - wide(target), 0)
    loss = x.new_zeros(len(x))
    for k in range(LEVELS):
        if min(x.shape[-2:]) < 2:
            break
        smaller = halve(x)
        band = x - F.interpolate(smaller, size=x.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + 2**k * mean(band.abs(), valid)
        x, valid = smaller, valid[..., : 2 * smaller.shape[-2] : 2, : 2 * smaller.shape[-1] : 2]
    return loss
