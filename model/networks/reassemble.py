"""Tokens back to images: DPT's reassemble (Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, 3.1).

B images, G x G patches (the ViT's grid), D channels of a token.
"""

import torch
import torch.nn.functional as F
from torch import nn

from david.model.initialise import keep_variance


class Reassemble(nn.Module):
    """Four taps of the ViT to four feature maps, at 4, 2, 1 and 1/2 times its grid."""

    def __init__(self, token_channels: int, grid: tuple[int, int], channels: tuple[int, int, int, int], width: int):
        super().__init__()
        a, b, _, d = channels
        scales = (
            keep_variance(nn.ConvTranspose2d(a, a, kernel_size=4, stride=4)),
            keep_variance(nn.ConvTranspose2d(b, b, kernel_size=2, stride=2)),
            nn.Identity(),
            keep_variance(nn.Conv2d(d, d, kernel_size=3, stride=2, padding=1)),
        )
        self.taps = nn.ModuleList(
            Tap(token_channels, grid, n, scale, width) for n, scale in zip(channels, scales, strict=True)
        )

    def forward(self, taps: list[tuple[torch.Tensor, torch.Tensor]]) -> list[torch.Tensor]:
        """Patch tokens (B, G * G, D) and class token (B, 1, D) of each tap to its map (B, width, h, w)."""
        return [tap(patches, cls) for tap, (patches, cls) in zip(self.taps, taps, strict=True)]


class Tap(nn.Module):
    """One tap: read the class token into each patch, lay the patches out, scale, bring to the decoder's width."""

    def __init__(self, token_channels: int, grid: tuple[int, int], channels: int, scale: nn.Module, width: int):
        super().__init__()
        self.grid = grid
        self.readout = keep_variance(nn.Linear(2 * token_channels, token_channels))
        self.project = keep_variance(nn.Conv2d(token_channels, channels, kernel_size=1), rectified=True)
        self.scale = scale
        self.widen = keep_variance(nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False))

    def forward(self, patches: torch.Tensor, cls: torch.Tensor) -> torch.Tensor:
        # Readout "project" is GELU(W [patch, cls] + b). W [patch, cls] is W_patch patch + W_cls cls, and the second
        # term is the same for all patches of an image: half the work, and no concatenation.
        for_patch, for_cls = self.readout.weight.chunk(2, dim=1)
        tokens = F.gelu(F.linear(patches, for_patch) + F.linear(cls, for_cls, self.readout.bias))
        image = tokens.transpose(1, 2).unflatten(2, self.grid)  # a view, channels-last in memory
        return self.widen(self.scale(self.project(image)))
