"""What the network is made of. A recipe holds one `ModelConfig`; `MODELS` names those we know."""

from dataclasses import dataclass, replace
from typing import Any

from david.pack.errors import DavidError

# Each head and what it may end with, as the classes in `heads/` have it; here without torch, which takes seconds
HEADS: dict[str, tuple[str, ...]] = {
    "depth": ("linear", "softplus"),
    "normals": ("linear", "tanh"),
    "alpha": ("linear",),
}


@dataclass(frozen=True)
class ModelConfig:
    """A vision transformer from timm, a convolutional decoder, a head for each task.

    backbone: timm's name of the ViT with the tag of its weights; the tag also decides how images are normalised
    taps: the four blocks, counted from 0, after which its tokens are read; blocks after the last do not exist
    reassemble: channels of the four taps' feature maps, at 4, 2, 1 and 1/2 times the ViT's own grid
    backbone_size: the ViT sees the image resized to a square of this side, in pixels
    width: channels of the resizer and of the decoder
    head_widths: channels inside each head, before and after it goes to full size
    heads: names out of `HEADS`, in the order in which they run
    depth_activation, normals_activation: what these heads end with: linear, or softplus for depth and tanh for normals
    """

    backbone: str
    taps: tuple[int, int, int, int]
    reassemble: tuple[int, int, int, int]
    backbone_size: int = 384
    width: int = 256
    head_widths: tuple[int, int] = (128, 32)
    heads: tuple[str, ...] = tuple(HEADS)
    depth_activation: str = "linear"
    normals_activation: str = "linear"

    def __post_init__(self) -> None:
        def refuse(field: str, expected: str) -> DavidError:
            return DavidError(f"model.{field}: expected {expected}, found {getattr(self, field)!r}")

        if not self.heads or len(set(self.heads)) < len(self.heads) or not set(self.heads) <= set(HEADS):
            raise refuse("heads", f"one or more of {', '.join(HEADS)}, each once")
        if len(self.taps) != 4 or min(self.taps) < 0 or sorted(set(self.taps)) != list(self.taps):
            raise refuse("taps", "four block numbers, counted from 0 and rising")
        if len(self.reassemble) != 4 or min(self.reassemble) < 1:
            raise refuse("reassemble", "four numbers of channels, each at least 1")
        if len(self.head_widths) != 2 or min(self.head_widths) < 1:
            raise refuse("head_widths", "two numbers of channels, each at least 1")
        if self.width < 1:
            raise refuse("width", "a number of channels, at least 1")
        if self.backbone_size < 1:
            raise refuse("backbone_size", "a number of pixels, at least 1")
        for head in ("depth", "normals"):
            if self.activation(head) not in HEADS[head]:
                raise refuse(f"{head}_activation", f"one of {', '.join(HEADS[head])}")

    def activation(self, head: str) -> str:
        """What a head ends with."""
        return getattr(self, f"{head}_activation", "linear")


MODELS: dict[str, ModelConfig] = {
    # DAViD's two sizes. The paper says ViT-B/16 and ViT-L/16 at 384 pixels; which ImageNet weights it began with we
    # could not read, so these are timm's own choice for the two.
    "david-base": ModelConfig(
        backbone="vit_base_patch16_384.augreg_in21k_ft_in1k",
        taps=(2, 5, 8, 11),
        reassemble=(96, 192, 384, 768),
    ),
    "david-large": ModelConfig(
        backbone="vit_large_patch16_384.augreg_in21k_ft_in1k",
        taps=(5, 11, 17, 23),
        reassemble=(256, 512, 1024, 1024),
    ),
    # The same network, small enough to train on one CPU core: for tests and for a first look.
    "david-smoke": ModelConfig(
        backbone="vit_tiny_patch16_384.augreg_in21k_ft_in1k",
        taps=(0, 1, 2, 3),
        reassemble=(32, 32, 48, 64),
        backbone_size=128,
        width=32,
        head_widths=(8, 8),
    ),
}


def configure(name: str, **changes: Any) -> ModelConfig:
    """The configuration called `name` with some of its fields replaced."""
    if name not in MODELS:
        raise DavidError(f"unknown model {name!r}: expected one of {', '.join(MODELS)}")
    return replace(MODELS[name], **changes)
