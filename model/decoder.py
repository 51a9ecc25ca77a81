"""The decoder: the ViT's maps, deepest first, each refined, enlarged and joined with the resizer's map of that size.

B images. Units and fusion as in DPT (Ranftl et al., ICCV 2021, supplement A), without its norms.
"""

import torch
import torch.nn.functional as F
from torch import nn

from david.model.initialise import keep_variance
from david.model.resize import resize


class Decoder(nn.Module):
    """Four fusions, from the deepest tap with the resizer's smallest map to the shallowest with its largest."""

    def __init__(self, width: int):
        super().__init__()
        self.fusions = nn.ModuleList(Fusion(width, deepest=i == 3) for i in range(4))

    def forward(self, taps: list[torch.Tensor], fine: list[torch.Tensor]) -> torch.Tensor:
        """Four maps of the ViT, shallowest first, and of the resizer, largest first, to one (B, width, H/2, W/2)."""
        below = None
        for fusion, tap, image in reversed(list(zip(self.fusions, taps, fine, strict=True))):
            below = fusion(tap, image, below)
        return below


class Fusion(nn.Module):
    """One level: add this level's tap, refine, enlarge to the resizer's map, concatenate it, mix by a 1x1."""

    def __init__(self, width: int, deepest: bool):
        super().__init__()
        self.lateral = None if deepest else ResidualUnit(width)
        self.refine = ResidualUnit(width)
        self.mix = keep_variance(nn.Conv2d(2 * width, width, kernel_size=1))

    def forward(self, tap: torch.Tensor, fine: torch.Tensor, below: torch.Tensor | None) -> torch.Tensor:
        """tap, fine, below: (B, width, ., .) of three sizes; the result has the size of `fine`."""
        if self.lateral is not None:
            tap = below + resize(self.lateral(tap), below.shape[-2:])
        # `mix(concatenate(resize(x), fine))`. A 1x1 convolution of two maps is the sum of two, and it commutes with a
        # bilinear resize (whose weights add up to 1): so x is mixed while it is small, and nothing is concatenated.
        for_x, for_fine = self.mix.weight.chunk(2, dim=1)
        x = F.conv2d(self.refine(tap), for_x)
        return resize(x, fine.shape[-2:]) + F.conv2d(fine, for_fine, self.mix.bias)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))): pre-activation residual unit (He et al., ECCV 2016), two 3x3, no norm."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = keep_variance(nn.Conv2d(width, width, kernel_size=3, padding=1), rectified=True)
        self.conv2 = keep_variance(nn.Conv2d(width, width, kernel_size=3, padding=1), rectified=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(F.relu(x)).relu_())
