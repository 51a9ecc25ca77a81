"""L1 distance of depth's gradients, in size and direction, as ZoeDepth has it.

    1/M sum_i |m(p)_i - m(t)_i| + |a(p)_i - a(t)_i|      m = dx^2 + dy^2 (no root),  a = atan(dy / (dx + 1e-10))

dx, dy: differences of the pixel in row j and column i from its neighbours (j, i - 1) and (j - 1, i); i counts where all
three are valid, M is their number. `GradL1Loss` of ZoeDepth's official code (Bhat et al., 2023), with each image by
itself.

The angle of a flat place jumps with its last digit: its gradient there grows without bound. Where the prediction rises
by less than `FLAT` a pixel the angle counts, and pulls nowhere.
"""

import torch

from david.train.losses.masked import mean, wide, within

EPS = 1e-10
FLAT = 1e-6  # metres a pixel: a hundredth of the step of depth sensors


def zoe_gradient(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth in metres; valid: (B, 1, H, W) bool. Returns (B,); an image of one row or
    column has 0."""
    there = valid[..., 1:, 1:] & valid[..., 1:, :-1] & valid[..., :-1, 1:]
    (size, angle), (true_size, true_angle) = (_polar(within(wide(x), valid)) for x in (prediction, target))
    angle = torch.where(size < FLAT * FLAT, angle.detach(), angle)
    return mean((size - true_size).abs(), there) + mean((angle - true_angle).abs(), there)


def _polar(depth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The squared size of the gradient and its angle, (B, 1, H - 1, W - 1) each."""
    here = depth[..., 1:, 1:]
    dx, dy = here - depth[..., 1:, :-1], here - depth[..., :-1, 1:]
    steep = dx + EPS
    steep = torch.where(steep == 0, EPS, steep)
    return dx * dx + dy * dy, torch.atan(dy / steep)
