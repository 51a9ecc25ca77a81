"""Surface normals."""

import torch
import torch.nn.functional as F

from david.model.heads.dense import DenseHead

# Below this length the gradient of the division is bounded, and finite at the zero vector.
SHORTEST = 1e-4


class UnitNormals(DenseHead):
    """Unit vectors X (right), Y (up), Z (towards the camera); brought to unit length in float32."""

    output, channels = "normals", 3

    def say(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.last(x).float(), dim=1, eps=SHORTEST)
