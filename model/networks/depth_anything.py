"""Depth Anything V2 (Yang et al., NeurIPS 2024): a DINOv2, DPT's pyramid, and relative disparity or metres.

As its published weights demand, see `dinov2.py` and `dpt.py`. A file of version 1 has the same names and shapes and was
trained on other blocks (its last four): nothing in a file tells the two apart, and here it would be wrong.

B images, H rows, W columns.
"""

import torch
from torch import nn

from david.model.configs.base import ModelConfig
from david.model.configs.depth_anything import DepthAnythingConfig, Dinov2Config
from david.model.networks.dinov2 import Dinov2, in_patches
from david.model.networks.dpt import End, Pyramid, enlarged
from david.model.networks.network import Network
from david.model.prediction import Prediction
from david.model.resize import antialiased


class OnPatches(Network):
    """Image to one map, by a DINOv2, a pyramid on its taps and DPT's end.

    Sides that are multiples of 14 are seen as they are. Any other image is resized to the nearest such sides,
    antialiased, and what is said of it back, bilinear with aligned corners, as the official code brings it back."""

    mean: torch.Tensor
    std: torch.Tensor
    output: str  # what a prediction calls it

    def __init__(self, config: Dinov2Config, pyramid: nn.Module):
        super().__init__()
        self.config: ModelConfig = config
        self.backbone = Dinov2(config)
        self.pyramid = pyramid
        self.head = End(config.features)
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> Prediction:
        size, seen = image.shape[-2:], in_patches(image.shape[-2:])
        image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        image = antialiased((image - self.mean) / self.std, seen)
        rows, columns = self.backbone.vit.patch_embed.patch_size
        grid = (seen[0] // rows, seen[1] // columns)
        maps = self.pyramid([patches for patches, _ in self.backbone(image)], grid, seen)
        read, last = self.head(maps[-1], seen)
        return {self.output: enlarged(self.say(maps, read, last), size)}

    def say(self, maps: list[torch.Tensor], read: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """maps: the pyramid's, deepest first; read, last: what the last layer reads, (B, 32, H, W), and says, (B, 1, H,
        W), both float32. Gives (B, 1, H, W) float32."""
        raise NotImplementedError


class DepthAnything(OnPatches):
    """Image to relative disparity, at least 0, or to metres up to the configuration's `max_depth`."""

    def __init__(self, config: DepthAnythingConfig):
        backbone_channels = config.encoder.width
        super().__init__(config, Pyramid(backbone_channels, config.reassemble, config.features))
        self.max_depth = config.max_depth
        self.output = "relative_disparity" if config.max_depth is None else "metric_depth_m"

    def say(self, maps: list[torch.Tensor], read: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return last.relu() if self.max_depth is None else last.sigmoid() * self.max_depth
