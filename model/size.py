"""How many parameters a configuration has, counted from its numbers: no torch, and no network is built."""

from typing import NamedTuple

from david.model.config import ModelConfig

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
CHANNELS = {"depth": 1, "normals": 3, "alpha": 1}  # of each head


def parameters(config: ModelConfig) -> int | None:
    """Of the whole network; None for a backbone whose numbers are not in `TRUNKS`."""
    trunk = TRUNKS.get(config.backbone.partition(".")[0])
    if trunk is None:
        return None
    d, w = trunk.width, config.width
    tokens = (config.backbone_size // trunk.patch) ** 2 + 1
    blocks = (config.taps[-1] + 1) * (12 * d * d + 13 * d)  # attention 4 d^2, MLP 8 d^2, biases and two norms 13 d
    vit = 3 * trunk.patch**2 * d + d + d + tokens * d + blocks  # patches, their bias, class token, positions
    a, b, _, e = config.reassemble
    scaled = (16 * a * a + a) + (4 * b * b + b) + (9 * e * e + e)  # 4/4 and 2/2 transposed, identity, 3x3 stride 2
    taps = sum((2 * d * d + d) + (d * c + c) + 9 * c * w for c in config.reassemble)  # readout, 1x1, 3x3 without bias
    pointwise, spatial = w * w + w, 9 * w * w + w
    resizer = 27 * w + w + 3 * spatial + 8 * pointwise
    decoder = 14 * spatial + 4 * (2 * w * w + w)  # seven units of two 3x3, four 1x1 from twice the width
    half, full = config.head_widths
    heads = sum(9 * w * half + half + 9 * half * full + full + full * CHANNELS[h] + CHANNELS[h] for h in config.heads)
    return vit + taps + scaled + resizer + decoder + heads
