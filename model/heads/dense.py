"""What most heads share: the decoder's map to a map of the image's own size.

B images, H rows, W columns: the size of the input image.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from david.model.initialise import keep_variance
from david.model.polyphase import doubled_3x3, pays, shares, shuffled, side_by_side
from david.model.resize import resize


def linear(x: torch.Tensor) -> torch.Tensor:
    return x


ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # by the names that `table.HEADS` has
    "linear": linear,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


class DenseHead(nn.Module):
    """3x3, bilinear to full size, 3x3, ReLU, 1x1: DPT's head. A task says what the numbers mean.

    wide: the children whose weights nobody may round before they are called: kernels are made of `refine`'s"""

    shares: torch.Tensor
    wide: tuple[str, ...] = ("refine",)

    def __init__(self, channels: int, width: int, head_widths: tuple[int, int], activation: str = "linear"):
        super().__init__()
        self.activation = activation
        half, full = head_widths
        self.narrow = keep_variance(nn.Conv2d(width, half, kernel_size=3, padding=1))
        self.refine = keep_variance(nn.Conv2d(half, full, kernel_size=3, padding=1))
        self.last = keep_variance(nn.Conv2d(full, channels, kernel_size=1), rectified=True)
        self.register_buffer("shares", shares(), persistent=False)

    def forward(self, features: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """(B, width, H/2, W/2) to (B, channels, H, W) float32, where size is (H, W)."""
        x = self.narrow(features)
        if pays(x, size):
            return shuffled(self.say(side_by_side(self.doubled(x).relu_())))
        return self.say(self.refine(resize(x, size)).relu_())

    def doubled(self, x: torch.Tensor) -> torch.Tensor:
        """`refine` of x enlarged twice, as its four phases."""
        assert self.refine.bias is not None
        return doubled_3x3(x, self.refine.weight, self.refine.bias, self.shares)

    def say(self, x: torch.Tensor) -> torch.Tensor:
        """(B, head_widths[1], ...), not negative, to what this task calls its prediction, (B, channels, ...).

        Of each pixel by itself: pixels come in an order of their own, see `side_by_side`."""
        raise NotImplementedError

    def end(self, x: torch.Tensor) -> torch.Tensor:
        """The head's activation of what the last 1x1 gave, in float32."""
        return ACTIVATIONS[self.activation](x.float())
