"""Surface normals."""

import torch
import torch.nn.functional as F
from torch import nn

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
        return F.normalize(self.end(self.last(x)), dim=1, eps=SHORTEST)
