"""DPT's pyramid and end as Depth Anything V2 has them (Ranftl et al., ICCV 2021; Yang et al., NeurIPS 2024).

Its published weights depend on: corners aligned in every resize, maps resized before the fusion's 1x1, and patch tokens
alone, without the class token.

B images, h x w patches, D channels of a token.
"""

import torch
import torch.nn.functional as F
from torch import nn

from david.model.configs.depth_anything import SQUEEZED
from david.model.initialise import keep_variance
from david.model.networks.decoder import ResidualUnit


class Pyramid(nn.Module):
    """Four taps of the ViT to five maps, deepest first, each as wide as `features`."""

    def __init__(self, tokens: int, reassemble: tuple[int, int, int, int], features: int):
        super().__init__()
        a, b, _, d = reassemble
        scales = (
            keep_variance(nn.ConvTranspose2d(a, a, kernel_size=4, stride=4)),
            keep_variance(nn.ConvTranspose2d(b, b, kernel_size=2, stride=2)),
            nn.Identity(),
            keep_variance(nn.Conv2d(d, d, kernel_size=3, stride=2, padding=1)),
        )
        self.taps = nn.ModuleList(Tap(tokens, n, scale, features) for n, scale in zip(reassemble, scales, strict=True))
        self.fusions = nn.ModuleList(Fusion(features) for _ in range(4))
        unused = self.fusions[3]
        assert isinstance(unused, Fusion)
        unused.lateral.requires_grad_(False)  # nothing is below the deepest level; published files hold it

    def forward(self, taps: list[torch.Tensor], grid: tuple[int, int], size: tuple[int, int]) -> list[torch.Tensor]:
        """Patch tokens (B, h * w, D) of each tap, shallowest first, to the deepest tap's map and what the four levels
        say: (B, features, ...) of h/2, h, 2h, 4h and 8h rows. size: of the image, which sets no map's size here."""
        maps = [tap(tokens, grid) for tap, tokens in zip(self.taps, taps, strict=True)]
        said = [maps[3]]
        x = None
        for level in (3, 2, 1, 0):
            rows, columns = maps[level - 1].shape[-2:] if level else (2 * side for side in maps[0].shape[-2:])
            x = self.fusions[level](maps[level], x, (rows, columns))
            said.append(x)
        return said


class Tap(nn.Module):
    """One tap: lay the patches out, scale, bring to the pyramid's width."""

    def __init__(self, tokens: int, channels: int, scale: nn.Module, features: int):
        super().__init__()
        self.project = keep_variance(nn.Conv2d(tokens, channels, kernel_size=1))
        self.scale = scale
        self.widen = keep_variance(nn.Conv2d(channels, features, kernel_size=3, padding=1, bias=False))

    def forward(self, tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        return self.widen(self.scale(self.project(tokens.transpose(1, 2).unflatten(2, grid))))


class Fusion(nn.Module):
    """The level below plus this one's refined map, refined, enlarged, then a 1x1."""

    def __init__(self, features: int):
        super().__init__()
        self.lateral, self.refine = ResidualUnit(features), ResidualUnit(features)
        self.out = keep_variance(nn.Conv2d(features, features, kernel_size=1))

    def forward(self, here: torch.Tensor, below: torch.Tensor | None, size: tuple[int, int]) -> torch.Tensor:
        """here, below: (B, features, h', w'); below is none at the deepest level. Gives (B, features, *size)."""
        x = here if below is None else below + self.lateral(here)
        return self.out(enlarged(self.refine(x), size))


class End(nn.Module):
    """The finest map to one number a pixel: 3x3, bilinear to full size, 3x3, ReLU, 1x1."""

    wide = ("last",)  # see `DenseHead`

    def __init__(self, features: int):
        super().__init__()
        self.narrow = keep_variance(nn.Conv2d(features, features // 2, kernel_size=3, padding=1))
        self.refine = keep_variance(nn.Conv2d(features // 2, SQUEEZED, kernel_size=3, padding=1))
        self.last = keep_variance(nn.Conv2d(SQUEEZED, 1, kernel_size=1), rectified=True)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, features, h', w') to what the last layer reads, (B, 32, *size), and what it says, (B, 1, *size), both
        float32: the last layer runs in float32 under autocast too, since bfloat16 steps by 0.4 %."""
        seen = F.relu(self.refine(enlarged(self.narrow(x), size))).float()
        with torch.autocast(seen.device.type, enabled=False):
            return seen, self.last(seen)


def enlarged(x: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), the corners' centres on each other; x itself where the size is right already."""
    return x if x.shape[-2:] == tuple(size) else F.interpolate(x, size=size, mode="bilinear", align_corners=True)
