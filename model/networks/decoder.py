"""The decoder: the ViT's maps, deepest first, each refined, enlarged and joined with the resizer's map of that size.

B images. Units and fusion as in DPT (Ranftl et al., ICCV 2021, supplement A), without its norms.
"""

import torch
import torch.nn.functional as F
from torch import nn

from david.model.initialise import keep_variance
from david.model.resize import resize


class Decoder(nn.Module):
    """Four levels, from the deepest tap with the resizer's smallest map to the shallowest with its largest."""

    def __init__(self, width: int):
        super().__init__()
        self.laterals = nn.ModuleList(ResidualUnit(width) for _ in range(3))  # the deepest tap has none
        self.fusions = nn.ModuleList(Fusion(width) for _ in range(4))

    def forward(self, taps: list[torch.Tensor], fine: list[torch.Tensor]) -> list[torch.Tensor]:
        """Four maps of the ViT, shallowest first, and of the resizer, largest first, to four (B, width, h, w) as large
        as the resizer's, largest first: (H/2, W/2) and so on."""
        x, pyramid = taps[3], []
        for level in (3, 2, 1, 0):
            if level < 3:
                x = x + resize(self.laterals[level](taps[level]), x.shape[-2:])
            x = self.fusions[level](x, fine[level])
            pyramid.insert(0, x)
        return pyramid


class Fusion(nn.Module):
    """Refine, enlarge to the resizer's map, concatenate that map, mix the two by a 1x1."""

    def __init__(self, width: int):
        super().__init__()
        self.refine = ResidualUnit(width)
        self.mix = keep_variance(nn.Conv2d(2 * width, width, kernel_size=1))

    def forward(self, x: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """x (B, width, h', w') and fine (B, width, h, w) to (B, width, h, w)."""
        # `mix(concatenate(resize(x), fine))`. A 1x1 convolution of two maps is the sum of two, and it commutes with a
        # bilinear resize (whose weights add up to 1): so x is mixed while it is small, and nothing is concatenated.
        for_x, for_fine = self.mix.weight.chunk(2, dim=1)
        x = F.conv2d(self.refine(x), for_x)
        return resize(x, fine.shape[-2:]) + F.conv2d(fine, for_fine, self.mix.bias)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))): pre-activation residual unit (He et al., ECCV 2016), two 3x3, no norm."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = keep_variance(nn.Conv2d(width, width, kernel_size=3, padding=1), rectified=True)
        self.conv2 = keep_variance(nn.Conv2d(width, width, kernel_size=3, padding=1), rectified=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(F.relu(x)).relu_())
