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

from david.train.losses.masked import count, wide

LEAST_CORRELATION = 0.1  # of losses
TINY = 1e-12  # against division by the variance of a flat prediction


def fit(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, (B, 1, 1, 1) each, so that scale * prediction + shift is nearest to target where valid.

    prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Differentiable in prediction.
    An image without a valid pixel gets finite values.
    """
    scale, p_mean, d_mean = _moments(wide(prediction), wide(target), valid, least_correlation)
    return scale, d_mean - scale * p_mean


def align(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> torch.Tensor:
    """The prediction (B, 1, H, W) carried onto the target by `fit`, float32 or better."""
    scale, shift = fit(prediction, target, valid, least_correlation)
    return scale * wide(prediction) + shift


def _moments(
    p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor, least_correlation: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The scale, and the means of prediction and target, (B, 1, 1, 1) each."""
    pixels = count(valid).view(-1, 1, 1, 1)

    def mean(values: torch.Tensor) -> torch.Tensor:  # of what is 0 where it does not count
        return values.sum((1, 2, 3), keepdim=True) / pixels

    p_mean, d_mean = (mean(torch.where(valid, x, 0)) for x in (p, d))
    p, d = torch.where(valid, p - p_mean, 0), torch.where(valid, d - d_mean, 0)
    p_var, d_var, covariance = mean(p * p), mean(d * d), mean(p * d)
    least = least_correlation * (p_var * d_var + TINY * TINY).sqrt()
    return torch.maximum(covariance, least) / (p_var + TINY), p_mean, d_mean
