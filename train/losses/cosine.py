"""Cosine distance of surface normals.

    1/M sum_i 1 - <n_i, m_i> / (|n_i| |m_i|)      over the M valid pixels

The normals loss of DAViD (Saleh et al., ICCV 2025, section 4). Lengths are divided out of both sides, so
float16 targets count as directions.
"""

import torch

from david.train.losses.masked import mean, wide

SHORTEST = 1e-6  # a length that is divided by


def cosine(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 3, H, W) directions; valid: (B, 1, H, W) bool. Returns (B,) in [0, 2]."""
    return mean(_Apart.apply(wide(prediction), wide(target)), valid)  # pyright: ignore[reportArgumentType]


class _Apart(torch.autograd.Function):
    """1 - cos of the angle between p and a constant n, (B, 1, H, W), with the gradient

        -(n / |n| - cos p / |p|) / |p|

    Plane by plane: a network's normals lie channels-last in memory and a loader's do not, and what walks through both
    at once on a CPU takes a hundred times as long as this.
    """

    @staticmethod
    def forward(ctx, p: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        p, n = p.contiguous(), n.contiguous()
        length, other = (dot(x, x).sqrt().clamp(min=SHORTEST) for x in (p, n))
        cos = dot(p, n) / (length * other)
        ctx.save_for_backward(p, n, length, other, cos)
        return 1 - cos

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (gradient,) = gradients
        p, n, length, other, cos = ctx.saved_tensors
        along = gradient / length
        back = torch.where(length > SHORTEST, along * cos / length, 0)  # a length that was raised has no gradient
        return torch.addcmul(back * p, along / other, n, value=-1), None


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) each: (B, 1, H, W)."""
    (x, y, z), (u, v, w) = a.split(1, dim=1), b.split(1, dim=1)
    return torch.addcmul(torch.addcmul(x * u, y, v), z, w)
