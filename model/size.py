"""How many parameters parts of networks have, counted from their numbers: no torch, and no network is built."""

from typing import NamedTuple

STATE_BYTES = 16  # a parameter in training: float32 weight, gradient, and AdamW's two moments


class Trunk(NamedTuple):
    """A plain ViT. width: channels of a token; patch: its side in pixels"""

    width: int
    patch: int


TRUNKS = {  # those of timm's architectures that our own configurations name
    "vit_tiny_patch16_384": Trunk(192, 16),
    "vit_base_patch16_384": Trunk(768, 16),
    "vit_large_patch16_384": Trunk(1024, 16),
}


class Counted(NamedTuple):
    """parameters: of a ViT; width: channels of its tokens"""

    parameters: int
    width: int


def vit(name: str, side: int, blocks: int) -> Counted | None:
    """The first `blocks` blocks of timm's ViT `name`, without its last norm, on images of `side` x `side` pixels; None
    for one whose numbers are not in `TRUNKS`."""
    trunk = TRUNKS.get(name.partition(".")[0])
    if trunk is None:
        return None
    d, tokens = trunk.width, (side // trunk.patch) ** 2 + 1
    each = 12 * d * d + 13 * d  # attention 4 d^2, MLP 8 d^2, biases and two norms 13 d
    return Counted(conv(3, d, trunk.patch) + d + tokens * d + blocks * each, d)  # patches, class token, positions


def conv(before: int, after: int, side: int = 1) -> int:
    """A convolution with its bias; of side 1 also a linear layer."""
    return side * side * before * after + after
