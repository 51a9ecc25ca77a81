"""DAViD's network (Saleh et al., ICCV 2025): its configuration, the sizes that we know, and how large each is."""

from dataclasses import dataclass
from typing import Literal

from david.model.configs.base import ModelConfig
from david.model.heads.table import HEADS
from david.model.size import conv, vit


@dataclass(frozen=True, kw_only=True)
class DavidConfig(ModelConfig):
    """A vision transformer from timm, a convolutional decoder, a head for each task.

    backbone: timm's name of the ViT with the tag of its weights; the tag also decides how images are normalised
    taps: the four blocks, counted from 0, after which its tokens are read; blocks after the last do not exist
    reassemble: channels of the four taps' feature maps, at 4, 2, 1 and 1/2 times the ViT's own grid
    backbone_size: the ViT sees the image resized to a square of this side, in pixels
    width: channels of the resizer and of the decoder
    head_widths: channels inside each head, before and after it goes to full size
    depth_activation, normals_activation: what these heads end with: linear, or softplus for depth and tanh for normals
    """

    kind: Literal["david"] = "david"
    taps: tuple[int, int, int, int]
    reassemble: tuple[int, int, int, int]
    backbone_size: int = 384
    width: int = 256
    head_widths: tuple[int, int] = (128, 32)
    heads: tuple[str, ...] = ("depth", "normals", "alpha")
    depth_activation: str = "linear"
    normals_activation: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.taps) != 4 or min(self.taps) < 0 or sorted(set(self.taps)) != list(self.taps):
            raise self.refusal("taps", "four block numbers, counted from 0 and rising")
        if len(self.reassemble) != 4 or min(self.reassemble) < 1:
            raise self.refusal("reassemble", "four numbers of channels, each at least 1")
        if len(self.head_widths) != 2 or min(self.head_widths) < 1:
            raise self.refusal("head_widths", "two numbers of channels, each at least 1")
        if self.width < 1:
            raise self.refusal("width", "a number of channels, at least 1")
        if self.backbone_size < 1:
            raise self.refusal("backbone_size", "a number of pixels, at least 1")
        for head in HEADS.values():
            if head.activation_field and getattr(self, head.activation_field) not in head.activations:
                raise self.refusal(head.activation_field, f"one of {', '.join(head.activations)}")

    def activation(self, head: str) -> str:
        """What a head ends with."""
        field = HEADS[head].activation_field
        return getattr(self, field) if field else HEADS[head].activations[0]

    def parameters(self) -> int | None:
        """None for a backbone, or a head, whose numbers are not known here."""
        counted = vit(self.backbone, self.backbone_size, self.taps[-1] + 1)
        sizes = [(HEADS[name].size, HEADS[name].channels) for name in self.heads]
        if counted is None or any(size is None for size, _ in sizes):
            return None
        trunk, d, w = counted.parameters, counted.width, self.width
        a, b, _, e = self.reassemble
        scaled = conv(a, a, 4) + conv(b, b, 2) + conv(e, e, 3)  # 4/4 and 2/2 transposed, identity, 3x3 stride 2
        taps = sum(conv(2 * d, d) + conv(d, c) + 9 * c * w for c in self.reassemble)  # readout, 1x1, 3x3 without bias
        resizer = conv(3, w, 3) + 3 * conv(w, w, 3) + 8 * conv(w, w)
        decoder = 14 * conv(w, w, 3) + 4 * conv(2 * w, w)  # seven units of two 3x3, four 1x1 from twice the width
        heads = sum(size(w, self.head_widths, channels) for size, channels in sizes if size)
        return trunk + taps + scaled + resizer + decoder + heads


MODELS: dict[str, ModelConfig] = {
    # DAViD's two sizes. The paper says ViT-B/16 and ViT-L/16 at 384 pixels; which ImageNet weights it began with we
    # could not read, so these are timm's own choice for the two.
    "david-base": DavidConfig(
        backbone="vit_base_patch16_384.augreg_in21k_ft_in1k",
        taps=(2, 5, 8, 11),
        reassemble=(96, 192, 384, 768),
    ),
    "david-large": DavidConfig(
        backbone="vit_large_patch16_384.augreg_in21k_ft_in1k",
        taps=(5, 11, 17, 23),
        reassemble=(256, 512, 1024, 1024),
    ),
    # The same network, small enough to train on one CPU core: for tests and for a first look.
    "david-smoke": DavidConfig(
        backbone="vit_tiny_patch16_384.augreg_in21k_ft_in1k",
        taps=(0, 1, 2, 3),
        reassemble=(32, 32, 48, 64),
        backbone_size=128,
        width=32,
        head_widths=(8, 8),
    ),
}
