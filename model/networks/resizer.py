"""The image at its own size: what the ViT's fixed square cannot see.

B images, H rows, W columns.
"""

import torch
from torch import nn

from david.model.initialise import keep_variance


class Resizer(nn.Module):
    """Four convolutional blocks, each at half the size of the one before: edges and texture for the decoder."""

    def __init__(self, width: int):
        super().__init__()
        self.blocks = nn.ModuleList(_block(width if i else 3, width, first=i == 0) for i in range(4))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) to four maps (B, width, h, w): h is H / 2, / 4, / 8, / 16, each rounded up, and w alike."""
        maps = []
        for block in self.blocks:
            image = block(image)
            maps.append(image)
        return maps


def _block(channels: int, width: int, first: bool) -> nn.Sequential:
    return nn.Sequential(
        keep_variance(nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1), rectified=not first),
        nn.ReLU(inplace=True),
        keep_variance(nn.Conv2d(width, width, kernel_size=1), rectified=True),
        nn.ReLU(inplace=True),
        keep_variance(nn.Conv2d(width, width, kernel_size=1), rectified=True),
        nn.ReLU(inplace=True),
    )
