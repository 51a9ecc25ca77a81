"""Multi-scale gradient matching of depth; of relative depth after the fit of `alignment`.

    sum_k 1/M_k sum_i |dx R_i^k| + |dy R_i^k|      R = p - d,  k = 0 .. 3, every 2^k-th pixel

A difference counts where both of its pixels are valid; M_k is the number of such pairs along x, and along y.
Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 11; after Li and Snavely, "MegaDepth",
CVPR 2018, section 4.
"""

import torch

from david.train.losses.masked import wide

SCALES = 4
AXES = (-1, -2)  # along x, along y


def gradient_matching(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit."""
    return _Steps.apply(wide(prediction) - wide(target), valid)  # pyright: ignore[reportReturnType]


class _Steps(torch.autograd.Function):
    """The formula of a residual, whose gradient is added up in one place: autograd would fill a whole image with zeros
    for each side of each difference."""

    @staticmethod
    def forward(ctx, residual: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        sums, pairs, signs = [], [], []
        for k in range(SCALES):
            r, v = residual[..., :: 2**k, :: 2**k], valid[..., :: 2**k, :: 2**k]
            for axis in AXES:
                there = after(v, axis) & before(v, axis)
                step = torch.where(there, after(r, axis) - before(r, axis), 0)
                sums.append(torch.linalg.vector_norm(step, 1, (1, 2, 3)))
                pairs.append(there.sum((1, 2, 3)))
                signs.append(step.sign_())
        number = torch.stack(pairs).clamp(min=1)
        ctx.save_for_backward(number, *signs)
        ctx.shape = residual.shape
        return (torch.stack(sums) / number).sum(0)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (gradient,) = gradients
        number, *signs = ctx.saved_tensors
        slopes = iter((gradient / number).view(len(signs), -1, 1, 1, 1).unbind())
        found = gradient.new_zeros(ctx.shape)
        for k in range(SCALES):
            part = found[..., :: 2**k, :: 2**k]
            for axis, sign in zip(AXES, signs[2 * k : 2 * k + 2], strict=True):
                slope = sign * next(slopes)
                after(part, axis).add_(slope)
                before(part, axis).sub_(slope)
        return found, None


def after(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.narrow(axis, 1, x.shape[axis] - 1)


def before(x: torch.Tensor, axis: int) -> torch.Tensor:
    return x.narrow(axis, 0, x.shape[axis] - 1)
