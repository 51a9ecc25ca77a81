"""What most heads share: the decoder's map to a map of the image's own size.

B images, H rows, W columns: the size of the input image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from david.model.initialise import keep_variance
from david.model.resize import resize


def linear(x: torch.Tensor) -> torch.Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # by the names that `table.HEADS` has
    "linear": linear,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


class DenseHead(nn.Module):
    """3x3, bilinear to full size, 3x3, ReLU, 1x1: DPT's head. A task says what the numbers mean."""

    def __init__(self, channels: int, width: int, head_widths: tuple[int, int], activation: str = "linear"):
        super().__init__()
        self.activation = activation
        half, full = head_widths
        self.narrow = keep_variance(nn.Conv2d(width, half, kernel_size=3, padding=1))
        self.refine = keep_variance(nn.Conv2d(half, full, kernel_size=3, padding=1))
        self.last = keep_variance(nn.Conv2d(full, channels, kernel_size=1), rectified=True)

    def forward(self, features: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """(B, width, H/2, W/2) to (B, channels, H, W) float32, where size is (H, W)."""
        x = resize(self.narrow(features), size)
        return self.say(self.refine(x).relu_())

    def say(self, x: torch.Tensor) -> torch.Tensor:
        """(B, head_widths[1], H, W), not negative, to what this task calls its prediction."""
        raise NotImplementedError

    def end(self, x: torch.Tensor) -> torch.Tensor:
        """The head's activation of what the last 1x1 gave, in float32."""
        return ACTIVATIONS[self.activation](x.float())
