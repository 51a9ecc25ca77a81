"""The network of the unofficial PyTorch implementation of DAViD: its configuration, whose weights others publish."""

from dataclasses import dataclass
from typing import Literal

from david.model.configs.base import ModelConfig
from david.model.size import conv, vit

HEADS = ("depth", "normals", "alpha")
SECOND = {"depth": 1, "normals": 3, "alpha": 1, "basecolor": 3, "geometry": 3}  # of another data set: head -> channels


@dataclass(frozen=True, kw_only=True)
class UnofficialConfig(ModelConfig):
    """A vision transformer from timm, a resizer and a decoder with batch norm, heads for two data sets.

    backbone: timm's name of the ViT; images reach it without a mean and a standard deviation
    taps, reassemble: as in `DavidConfig`
    backbone_size: side of the square that the ViT sees, in pixels
    width: channels of the decoder; a multiple of four: the resizer has a quarter, half, and twice all of it
    head_widths: channels inside each head, before and after it goes to full size
    classes: of the ViT's classifier, which its files keep
    """

    kind: Literal["unofficial"] = "unofficial"
    backbone: str = "vit_base_patch16_384"
    taps: tuple[int, int, int, int] = (2, 5, 8, 11)
    reassemble: tuple[int, int, int, int] = (96, 192, 384, 768)
    backbone_size: int = 384
    width: int = 256
    head_widths: tuple[int, int] = (128, 32)
    classes: int = 1000
    heads: tuple[str, ...] = HEADS

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads != HEADS:
            raise self.refusal("heads", f"{', '.join(HEADS)}, which its files hold")
        if len(self.taps) != 4 or min(self.taps) < 0 or sorted(set(self.taps)) != list(self.taps):
            raise self.refusal("taps", "four block numbers, counted from 0 and rising")
        if len(self.reassemble) != 4 or min(self.reassemble) < 1:
            raise self.refusal("reassemble", "four numbers of channels, each at least 1")
        if len(self.head_widths) != 2 or min(self.head_widths) < 1:
            raise self.refusal("head_widths", "two numbers of channels, each at least 1")
        if self.width < 4 or self.width % 4:
            raise self.refusal("width", "a number of channels, a multiple of 4")
        for name in ("backbone_size", "classes"):
            if getattr(self, name) < 1:
                raise self.refusal(name, "a whole number, at least 1")

    @property
    def side(self) -> int | None:
        return self.backbone_size

    @property
    def resizer(self) -> tuple[int, int, int, int]:
        """Channels of the resizer's maps, largest first."""
        return self.width // 4, self.width // 2, self.width, self.width

    def parameters(self) -> int | None:
        """All that its files hold but the batch norms' statistics."""
        counted = vit(self.backbone, self.backbone_size, self.taps[-1] + 1)
        if counted is None:
            return None
        trunk, d, w = counted.parameters, counted.width, self.width
        a, b, _, e = self.reassemble
        scaled = conv(a, a, 4) + conv(b, b, 2) + conv(e, e, 3)
        taps = sum(conv(2 * d, d) + conv(d, c) + 9 * c * w for c in self.reassemble)
        resizer = sum(_normed(i, o) + _normed(o, o) for i, o in zip((3, *self.resizer), self.resizer, strict=False))
        decoder = sum(4 * _normed(w, w) + _normed(w + fine, w) + _normed(w, w) for fine in self.resizer)
        half, full = self.head_widths
        outputs = [SECOND[head] for head in (*self.heads, *SECOND)]
        heads = sum(conv(w, half, 3) + conv(half, full, 3) + conv(full, channels) for channels in outputs)
        unused = 2 * d + conv(d, self.classes)
        return trunk + taps + scaled + resizer + decoder + heads + unused


def _normed(before: int, after: int) -> int:
    """A 3x3 convolution without a bias, and a batch norm's scale and shift."""
    return 9 * before * after + 2 * after


MODELS: dict[str, ModelConfig] = {"unofficial": UnofficialConfig()}
