"""Surface normals."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from david.model.heads.dense import DenseHead

# Below this length the gradient of the division is bounded, and finite at the zero vector.
SHORTEST = 1e-4


class UnitNormals(DenseHead):
    """Unit vectors X (right), Y (up), Z (towards the camera); brought to unit length in float32, after a tanh or not.

    They begin near (0, 0, 1). What is seen faces the camera, and from a random direction some networks spend their
    first hundred steps turning round: smoke networks of four seeds, 120 steps on rendered spheres, came to a mean
    cosine loss of 0.13 to 0.16 from here and of 0.14 to 0.31 from there.
    """

    def __init__(self, channels: int, width: int, head_widths: tuple[int, int], activation: str = "linear"):
        super().__init__(channels, width, head_widths, activation)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
        self.last.bias = nn.Parameter(torch.tensor([0.0, 0.0, 1.0]))

    def say(self, x: torch.Tensor) -> torch.Tensor:
        return unit(self.end(self.last(x)))


def unit(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, ...) brought to unit length along its second axis; what is shorter than `SHORTEST` is divided by that."""
    if torch.compiler.is_exporting():
        return F.normalize(x, dim=1, eps=SHORTEST)
    return _Unit.apply(x)  # pyright: ignore[reportReturnType]


class _Unit(torch.autograd.Function):
    """y = x / |x| with the gradient (g - y <y, g>) / |x| in half the passes that autograd takes."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min_(SHORTEST)
        y = x / length
        ctx.save_for_backward(y, length)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (g,), (y, length) = gradients, ctx.saved_tensors
        along = (g * y).sum(1, keepdim=True) * (length > SHORTEST)  # a length that was raised has no gradient
        return torch.addcmul(g, y, along, value=-1) / length
