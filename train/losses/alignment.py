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

LEAST_CORRELATION = 0.1  # of losses
TINY = 1e-12  # against division by the variance of a flat prediction


def fit(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, least_correlation: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift, (B, 1, 1, 1) each, so that scale * prediction + shift is nearest to target where valid.

    prediction, target: (B, 1, H, W); valid: (B, 1, H, W) bool. Differentiable in prediction.
    An image without a valid pixel gets finite values.
    """
    return _fit(wide(prediction), wide(prediction), wide(target), valid, least_correlation)


def _fit(
    first: torch.Tensor, again: torch.Tensor, d: torch.Tensor, valid: torch.Tensor, least_correlation: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`fit`; first, again: the prediction, as its mean and as its moments read it."""
    p_mean, d_mean = (mean(x, valid).view(-1, 1, 1, 1) for x in (first, d))
    p, d = again - p_mean, d - d_mean
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


def align_for_each(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, times: int
) -> tuple[torch.Tensor, ...]:
    """`align` as losses take it, fitted once: as many times the same, one for each of so many losses.

    The gradient is to the bit that of a fit for each loss: what a loss gives goes back through the fit by itself, and
    is added to the prediction's in the order in which autograd would add it. So a run does not change by which of its
    losses share a fit."""
    if not (torch.is_grad_enabled() and prediction.requires_grad):
        return (align(prediction, target, valid, LEAST_CORRELATION),) * times
    return _Shared.apply(times, target, valid, *[prediction] * (READINGS * times))  # pyright: ignore[reportReturnType]


READINGS = 3  # of the prediction in a fit: its mean, its moments, and what is carried over


class _Shared(torch.autograd.Function):
    """One graph of the fit with a leaf for each reading of the prediction, walked backwards once for each loss."""

    @staticmethod
    def forward(ctx, times: int, target: torch.Tensor, valid: torch.Tensor, *said: torch.Tensor):
        with torch.enable_grad():
            first, again, carried = (wide(said[0].detach()).requires_grad_() for _ in range(READINGS))
            scale, shift = _fit(first, again, wide(target), valid, LEAST_CORRELATION)
            ctx.aligned, ctx.leaves, ctx.kind = scale * carried + shift, (carried, again, first), said[0].dtype
        return tuple(ctx.aligned.detach() for _ in range(times))

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        found = []
        for gradient in reversed(gradients):
            back = torch.autograd.grad(ctx.aligned, ctx.leaves, gradient, retain_graph=True)
            found += [one.to(ctx.kind) for one in back]
        return None, None, None, *found
