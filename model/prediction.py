"""What the network says, each head's invariance in its name.

B images, H rows, W columns: the size of the input image.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Prediction:
    """Outputs of the heads that the network has; None for a head that it has not.

    relative_depth: (B, 1, H, W), known up to a positive scale and a shift for each image; grows with distance
    normals: (B, 3, H, W), unit X (right), Y (up), Z (towards the camera)
    alpha_logits: (B, 1, H, W); the sigmoid is the probability of foreground
    """

    relative_depth: torch.Tensor | None = None
    normals: torch.Tensor | None = None
    alpha_logits: torch.Tensor | None = None


# A tree of tensors to torch: DDP with a static graph hangs its gradient reduction on the output's tensors, and would
# pass by those in a class that it does not know; torch.export refuses such a class.
torch.export.register_dataclass(Prediction)
