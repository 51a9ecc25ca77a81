"""DAViD's network (Saleh et al., "DAViD: Data-efficient and Accurate Vision Models from Synthetic Data", ICCV 2025).

An image goes in as it was decoded; relative depth, normals and alpha come out at the same size. A ViT sees the image
on a small square and says what is where; the resizer sees it at its own size and keeps the edges; the decoder joins
the two, and each task has a head of its own.

B images, H rows, W columns.
"""

import torch
from torch import nn

from david.model.configs.base import ModelConfig
from david.model.configs.david import DavidConfig
from david.model.heads.table import HEADS
from david.model.networks.backbone import Backbone
from david.model.networks.decoder import Decoder
from david.model.networks.network import Network
from david.model.networks.reassemble import Reassemble
from david.model.networks.resizer import Resizer
from david.model.prediction import Prediction
from david.pack.lazy import load


class David(Network):
    """Image to `Prediction`. Any H and W; normalisation is inside."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: DavidConfig):
        super().__init__()
        self.config: ModelConfig = config
        self.backbone = Backbone(config.backbone, config.backbone_size, config.taps)
        self.reassemble = Reassemble(self.backbone.channels, self.backbone.grid, config.reassemble, config.width)
        self.resizer = Resizer(config.width)
        self.decoder = Decoder(config.width)
        self.heads = nn.ModuleDict({name: _head(name, config) for name in config.heads})
        # The statistics that the backbone's weights were trained with (0.5 and 0.5 for the augreg ViTs, ImageNet's own
        # for others): with any other the first layer sees what it has never seen. Not in the state: config says them.
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> Prediction:
        image = self.normalise(image)
        taps = self.reassemble(self.backbone(image))
        pyramid = self.decoder(taps, self.resizer(image))
        given = {"map": pyramid[0], "pyramid": pyramid}
        return {
            HEADS[name].output: head(given[HEADS[name].needs], image.shape[-2:]) for name, head in self.heads.items()
        }

    def normalise(self, image: torch.Tensor) -> torch.Tensor:
        """To float32 of the mean and standard deviation that the backbone expects."""
        image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return (image - self.mean) / self.std


def _head(name: str, config: DavidConfig) -> nn.Module:
    head = HEADS[name]
    return load(head.module)(head.channels, config.width, config.head_widths, config.activation(name))
