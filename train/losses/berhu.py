"""BerHu ("reverse Huber") distance of depth; of relative depth after the fit of `alignment`.

    1/M sum_i |r_i| if |r_i| <= c, else (r_i^2 + c^2) / (2 c)      r = p - d,  c = max_i |r_i| / 5

Laina et al., "Deeper Depth Prediction with Fully Convolutional Residual Networks", 3DV 2016, eq. 2 and 3. There c is
over the batch; here over each image, whose loss then does not depend on its company. c counts as a constant: its
gradient would push the largest residual outwards.
"""

import torch

from david.train.losses.masked import mean, wide, within

SHARE = 0.2  # of the largest residual, up to which the loss is linear
SMALLEST = 1e-6  # threshold, against division by that of a perfect or an empty image


def threshold(residual: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """c of each image, (B, 1, 1, 1), from residuals (B, 1, H, W) where valid (B, 1, H, W) bool."""
    largest = within(residual, valid).detach().abs().amax((1, 2, 3), keepdim=True)
    return (SHARE * largest).clamp(min=SMALLEST)


def berhu(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit."""
    residual = wide(prediction) - wide(target)
    c, size = threshold(residual, valid), residual.abs()
    return mean(torch.where(size <= c, size, (size * size + c * c) / (2 * c)), valid)
