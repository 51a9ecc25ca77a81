"""Multi-scale gradient matching of depth; of relative depth after the fit of `alignment`.

    sum_k 1/M_k sum_i |dx R_i^k| + |dy R_i^k|      R = p - d,  k = 0 .. 3, every 2^k-th pixel

A difference counts where both of its pixels are valid; M_k is the number of such pairs along x, and along y.
Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 11; after Li and Snavely, "MegaDepth",
CVPR 2018, section 4.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import wide, within

SCALES = 4
FARTHEST = 2 ** (SCALES - 1)  # pixels from one to the next that it is compared with


def gradient_matching(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in any unit; valid: (B, 1, H, W) bool. Returns (B,), target's unit."""
    return _Steps.apply(wide(prediction) - wide(target), valid)  # pyright: ignore[reportReturnType]


class _Steps(torch.autograd.Function):
    """The formula of a residual, whose gradient is added up in one place: autograd would fill a whole image with zeros
    for each side of each difference. Both axes are one tensor of pairs (2, B, 1, h, w), which runs over the border:
    what lies there is not valid."""

    @staticmethod
    def forward(ctx, residual: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        r, v = (F.pad(x, (0, FARTHEST, 0, FARTHEST)) for x in (residual, valid))
        sums, numbers, signs = [], [], []
        for k in range(SCALES):
            there = torch.logical_and(*pairs(v, residual.shape, 2**k))
            after, before = pairs(r, residual.shape, 2**k)
            step = within(after - before, there)
            sums.append(torch.linalg.vector_norm(step, 1, (2, 3, 4)))
            numbers.append(there.sum((2, 3, 4)))
            signs.append(step.sign_())
        number = torch.stack(numbers).clamp(min=1)
        ctx.save_for_backward(number, *signs)
        ctx.shape = residual.shape
        return (torch.stack(sums) / number).sum((0, 1))

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (gradient,) = gradients
        number, *signs = ctx.saved_tensors
        slopes = (gradient / number)[..., None, None, None]
        b, c, rows, columns = ctx.shape
        found = gradient.new_zeros(b, c, rows + FARTHEST, columns + FARTHEST)
        for k, (sign, to, fro) in enumerate(zip(signs, slopes, -slopes, strict=True)):
            after, before = pairs(found, ctx.shape, 2**k)
            for axis in range(2):
                after[axis].addcmul_(sign[axis], to[axis])
                before.addcmul_(sign[axis], fro[axis])
        return found[..., :rows, :columns], None


def pairs(x: torch.Tensor, shape: torch.Size, every: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of x, no view, an image of `shape` with a border behind it: what each `every`-th pixel has next to it along x and
    along y, (2, B, 1, h, w), and these pixels themselves, (B, 1, h, w). Views."""
    here = x[..., : shape[-2] : every, : shape[-1] : every]
    down, across = here.stride()[-2:]
    there = x.as_strided((2, *here.shape), (down - across, *here.stride()), across)
    return there, here
