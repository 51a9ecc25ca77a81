"""The network of the unofficial PyTorch implementation of DAViD, so that its published weights can be used.

As its files demand, against `david.py`: a batch norm behind each convolution of resizer and decoder, corners aligned in
each resize, images as they are, without a mean and a standard deviation. A tall image of the shape of SynthHuman's, as
wide as the ViT's square, shows the ViT its middle; the decoder lays that over the whole image all the same. Normals
come as Z, Y, X, which is how that implementation read SynthHuman's files, and are turned into X, Y, Z and made unit
here. It mirrored them along Z in training: expect little of them.

The second heads, for another data set, and the ViT's last norm and classifier are held, unused and without gradients,
so that its files go in whole and come out again.

Batch norms keep the statistics that came with the weights, in training too: `exact` training takes one image at a time,
and a batch shared out otherwise must give the same step. Their scales and shifts learn.

B images, H rows, W columns.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from david.model.configs.base import ModelConfig
from david.model.configs.unofficial import SECOND, UnofficialConfig
from david.model.heads.normals import unit
from david.model.networks.backbone import Backbone
from david.model.networks.network import Network
from david.model.networks.reassemble import Reassemble
from david.model.prediction import Prediction

ENDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # before the last resize
    "depth": torch.relu,
    "normals": torch.tanh,
    "alpha": lambda logits: logits,
}
ZYX = [2, 1, 0]  # where a file's normals have X, Y and Z


class Unofficial(Network):
    """Image to `Prediction`; relative depth is the share of the way from 50 to 300 cm, 0 .. 1."""

    def __init__(self, config: UnofficialConfig):
        super().__init__()
        self.config: ModelConfig = config
        self.side, width = config.backbone_size, config.width
        self.backbone = Backbone(config.backbone, config.backbone_size, config.taps)
        self.reassemble = Reassemble(self.backbone.channels, self.backbone.grid, config.reassemble, width)
        self.resizer = nn.ModuleList(
            nn.Sequential(*normed(before, after, stride=2), nn.ReLU(inplace=True), *normed(after, after), nn.ReLU())
            for before, after in zip((3, *config.resizer), config.resizer, strict=False)
        )
        self.decoder = nn.ModuleList(Block(width, fine) for fine in config.resizer)
        self.heads = nn.ModuleDict({name: head(width, config.head_widths, SECOND[name]) for name in config.heads})
        self.second_heads = nn.ModuleDict({name: head(width, config.head_widths, n) for name, n in SECOND.items()})
        channels = self.backbone.channels
        self.unused = nn.ModuleDict(
            {"norm": nn.LayerNorm(channels, eps=1e-6), "head": nn.Linear(channels, config.classes)}
        )
        for module in (self.second_heads, self.unused):
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Unofficial":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, image: torch.Tensor) -> Prediction:
        image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        taps = self.reassemble(self.backbone(self.middle(image)))
        fine = [image]
        for block in self.resizer:
            fine.append(block(fine[-1]))
        x = None
        for level in (3, 2, 1, 0):
            x = self.decoder[level](taps[level], fine[level + 1], x)
        size = image.shape[-2:]
        depth, normals, alpha = (enlarged(ENDS[name](one(x).float()), size) for name, one in self.heads.items())
        return {
            "relative_depth": depth,
            "normals": unit(normals[:, ZYX]),
            "alpha_logits": alpha,
        }

    def middle(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) as the ViT sees it, (B, 3, S, S): the middle rows of an image that is S wide and 4/3 S high, 512
        rows of 384 pixels; any other resized, whatever its shape."""
        height, width = image.shape[-2:]
        if width == self.side and 3 * height == 4 * self.side:
            top = height // 2 - self.side // 2
            return image[..., top : top + self.side, :]
        return enlarged(image, (self.side, self.side))


class Block(nn.Module):
    """One level of the decoder: the ViT's map and the level below, enlarged to the resizer's map and joined with it."""

    def __init__(self, width: int, fine: int):
        super().__init__()
        self.encoder, self.joined = Residual(width), Residual(width)
        self.mix = nn.Sequential(*normed(fine + width, width), nn.ReLU(inplace=True), *normed(width, width), nn.ReLU())

    def forward(self, tap: torch.Tensor, fine: torch.Tensor, below: torch.Tensor | None) -> torch.Tensor:
        """tap (B, width, h', w'), fine (B, c, h, w), below (B, width, h'', w'') or none, to (B, width, h, w)."""
        x = enlarged(self.encoder(tap), fine.shape[-2:])
        if below is not None:
            x = x + enlarged(below, fine.shape[-2:])
        return self.mix(torch.cat([fine, self.joined(x)], dim=1))


class Residual(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))): the residual unit of ResNets (He et al., CVPR 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.norm1 = normed(width, width)
        self.conv2, self.norm2 = normed(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))))


def normed(before: int, after: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    """A 3x3 convolution and the batch norm behind it."""
    return nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after)


def head(width: int, head_widths: tuple[int, int], channels: int) -> nn.Sequential:
    """The decoder's map at half size to a task's numbers at full size, without the end in `ENDS`."""
    half, full = head_widths
    return nn.Sequential(
        nn.Conv2d(width, half, kernel_size=3, padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(half, full, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(full, channels, kernel_size=1),
    )


def enlarged(x: torch.Tensor, size: torch.Size | tuple[int, int]) -> torch.Tensor:
    """(B, C, h, w) to (B, C, *size), the corners' centres on each other; x itself where the size is right already."""
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=True)
