"""The scale and the shift of each image that carry a relative prediction onto its target.

B images, H rows, W columns. Least squares over the valid pixels (Ranftl et al., "Towards Robust Monocular Depth
Estimation", TPAMI 2022, eq. 4), from centred moments, which stay exact in float32 where the normal equations do not:

    scale = cov(p, d) / var(p)        shift = mean(d) - scale mean(p)

Least squares alone is as happy with a mirrored depth (scale < 0) as with the right one, and a network that starts out
mirrored would stay so. `least_correlation` c keeps the scale at c std(d) / std(p) or more: above correlation r = c the
aligned error is the least-squares one, var(d) (1 - r^2); below, it goes on along that curve's tangent,
var(d) (1 - 2 c r + c^2), which still pulls towards the right sign.
"""

from typing import NamedTuple

import torch

from david.train.losses.masked import count, wide, within

LEAST_CORRELATION = 0.1  # of losses
TINY = 1e-12  # against division by the variance of a flat prediction


def fit(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, (B, 1, 1, 1) each, so that scale * prediction + shift is nearest to target where valid.

    prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Differentiable in prediction.
    An image without a valid pixel gets finite values.
    """
    found = Moments.of(wide(prediction), wide(target), valid)
    scale = found.scale(found.least(least_correlation))
    return scale, found.d_mean - scale * found.p_mean


def align(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> torch.Tensor:
    """The prediction (B, 1, H, W) carried onto the target by `fit`, float32 or better. The gradient is that of
    whatever is 0 where invalid, as losses are."""
    return _Aligned.apply(wide(prediction), wide(target), valid, least_correlation)  # pyright: ignore[reportReturnType]


class Moments(NamedTuple):
    """pixels: the number of valid ones; p_mean, d_mean, p_var, d_var, covariance: over them, (B, 1, 1, 1) each;
    p, d: prediction and target without their means, (B, 1, H, W), 0 where invalid
    width: what the scale is divided by"""

    pixels: torch.Tensor
    p_mean: torch.Tensor
    d_mean: torch.Tensor
    p: torch.Tensor
    d: torch.Tensor
    p_var: torch.Tensor
    d_var: torch.Tensor
    covariance: torch.Tensor
    width: torch.Tensor

    @classmethod
    def of(cls, p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor) -> "Moments":
        pixels = count(valid).view(-1, 1, 1, 1)

        def mean(values: torch.Tensor) -> torch.Tensor:  # of what is 0 where it does not count
            return values.sum((1, 2, 3), keepdim=True) / pixels

        p_mean, d_mean = (mean(within(x, valid)) for x in (p, d))
        p, d = within(p - p_mean, valid), within(d - d_mean, valid)
        p_var = mean(p * p)
        return cls(pixels, p_mean, d_mean, p, d, p_var, mean(d * d), mean(p * d), p_var + TINY)

    def least(self, correlation: float) -> torch.Tensor:
        """Below which the covariance is not taken for what it is."""
        return correlation * (self.p_var * self.d_var + TINY * TINY).sqrt()

    def scale(self, least: torch.Tensor) -> torch.Tensor:
        """least: what `least` gives"""
        return torch.maximum(self.covariance, least) / self.width


class _Aligned(torch.autograd.Function):
    """d_mean + s (p - p_mean), with the gradient in few passes. With g that of the result, and S = sum_i g_i (p_i -
    p_mean) that of the scale s, M valid pixels:

        s g_i - s/M sum_j g_j + S ds/dp_i

        ds/dp_i = (d_i - d_mean - 2 s (p_i - p_mean)) / (M var(p))      where s = cov(p, d) / var(p)
        ds/dp_i = -s (p_i - p_mean) / (M var(p))                        where s = c std(d) / std(p)
    """

    @staticmethod
    def forward(ctx, p: torch.Tensor, d: torch.Tensor, valid: torch.Tensor, least_correlation: float) -> torch.Tensor:
        found = Moments.of(p, d, valid)
        least = found.least(least_correlation)
        scale, by_d = found.scale(least), (found.covariance >= least) / found.width
        by_p = torch.addcmul(-scale / found.width, scale, by_d, value=-1)
        ctx.save_for_backward(valid, found.p, found.d, found.pixels, scale, by_p, by_d)
        return torch.addcmul(found.d_mean, scale, p - found.p_mean)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (gradient,) = gradients
        valid, p, d, pixels, scale, by_p, by_d = ctx.saved_tensors
        of_scale = (gradient * p).sum((1, 2, 3), keepdim=True) / pixels
        same = -scale * gradient.sum((1, 2, 3), keepdim=True) / pixels
        found = torch.addcmul(torch.addcmul(same, scale, gradient), of_scale * by_p, p)
        return within(found.addcmul_(of_scale * by_d, d), valid), None, None, None
