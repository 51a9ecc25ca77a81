"""Another pyramid than DPT's for ZoeDepth's head: maps at 1/8, 1/16 and 1/32 of the image, fused to one at 1/8.

A guide to this network describes it in these words and nobody published it, so how it is done is ours: the ViT's three
deepest taps, the deepest at 1/32, each resized to its scale; from the deepest up, each level adds the one below, as in
feature pyramid networks (Lin et al., CVPR 2017); the three are then joined at 1/8.

B images, H rows, W columns; h x w patches, D channels of a token.
"""

import torch
from torch import nn

from david.model.initialise import keep_variance
from david.model.networks.decoder import ResidualUnit
from david.model.networks.dpt import enlarged

SCALES = (8, 16, 32)


class Adapter(nn.Module):
    """Four taps of the ViT, the shallowest of which is not read, to five maps of `features` channels, deepest first."""

    def __init__(self, tokens: int, features: int):
        super().__init__()
        self.projects = nn.ModuleList(keep_variance(nn.Conv2d(tokens, features, kernel_size=1)) for _ in SCALES)
        self.scaled = nn.ModuleList(_three(features) for _ in SCALES)
        self.refines = nn.ModuleList(ResidualUnit(features) for _ in SCALES)
        self.join = keep_variance(nn.Conv2d(len(SCALES) * features, features, kernel_size=1))
        self.joined = ResidualUnit(features)

    def forward(self, taps: list[torch.Tensor], grid: tuple[int, int], size: tuple[int, int]) -> list[torch.Tensor]:
        """Patch tokens (B, h * w, D) of each tap, shallowest first, and the image's size, to the deepest tap's map at
        1/32, then what is said at 1/32, 1/16, 1/8, and the three fused at 1/8; sizes are rounded up."""
        maps = []
        for tokens, project, three, scale in zip(taps[1:], self.projects, self.scaled, SCALES, strict=True):
            x = project(tokens.transpose(1, 2).unflatten(2, grid))
            rows, columns = (-(-side // scale) for side in size)
            maps.append(three(enlarged(x, (rows, columns))))
        said = [maps[2]]
        x = None
        for here, refine in zip(reversed(maps), reversed(self.refines), strict=True):
            x = refine(here if x is None else here + enlarged(x, here.shape[-2:]))
            said.append(x)
        finest = said[3].shape[-2:]
        together = self.join(torch.cat([enlarged(x, finest) for x in said[1:]], dim=1))
        return [*said, self.joined(together)]


def _three(features: int) -> nn.Conv2d:
    return keep_variance(nn.Conv2d(features, features, kernel_size=3, padding=1))
