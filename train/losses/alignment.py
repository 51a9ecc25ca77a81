"""The scale and the shift of each image that carry a relative prediction onto its target.

B images, H rows, W columns. Least squares over the valid pixels (Ranftl et al., "Towards Robust Monocular Depth
Estimation", TPAMI 2022, eq. 4), from centred moments, which stay exact in float32 where the normal equations do not:

    scale = cov(p, d) / var(p)        shift = mean(d) - scale mean(p)

Least squares alone is as happy with a mirrored depth (scale < 0) as with the right one, and a network that starts out
mirrored would stay so. `least_correlation` c keeps the scale at c std(d) / std(p) or more: above correlation r = c the
aligned error is the least-squares one, var(d) (1 - r^2); below, it goes on along that curve's tangent,
var(d) (1 - 2 c r + c^2), which still pulls towards the right sign.
"""

import torch

from david.train.losses.masked import mean, wide

TINY = 1e-12  # against division by the variance of a flat prediction


def fit(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, (B, 1, 1, 1) each, so that scale * prediction + shift is nearest to target where valid.

    prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Differentiable in prediction.
    An image without a valid pixel gets finite values.
    """
    p, d = wide(prediction), wide(target)
    p_mean, d_mean = (mean(x, valid).view(-1, 1, 1, 1) for x in (p, d))
    p, d = p - p_mean, d - d_mean
    p_var, d_var, covariance = (mean(x, valid).view(-1, 1, 1, 1) for x in (p * p, d * d, p * d))
    least = least_correlation * (p_var * d_var + TINY * TINY).sqrt()
    scale = torch.maximum(covariance, least) / (p_var + TINY)
    return scale, d_mean - scale * p_mean


def align(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> torch.Tensor:
    """The prediction (B, 1, H, W) carried onto the target by `fit`, float32 or better."""
    scale, shift = fit(prediction, target, valid, least_correlation)
    return scale * wide(prediction) + shift
