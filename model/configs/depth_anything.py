"""Depth Anything V2 (Yang et al., NeurIPS 2024) and ZoeDepth's metric head (Bhat et al., 2023) on it: configurations,
the published sizes, and how large each is."""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from david.model.configs.base import ModelConfig
from david.model.size import conv

PATCH = 14  # pixels of a DINOv2's patch
SQUEEZED = 32  # channels before the last 1x1, which ZoeDepth's head reads too
SEED_HIDDEN, HIDDEN = 256, 128  # inside ZoeDepth's perceptrons: of the seed, of the others
Bins = Literal["softplus", "normed", "hybrid1", "hybrid2"]
BOUNDED_SEED, BOUNDED_ATTRACTORS = ("normed", "hybrid1"), ("normed", "hybrid2")


class Encoder(NamedTuple):
    """width: channels of a token; gated: whether its perceptrons are SwiGLU's"""

    width: int
    blocks: int
    heads: int
    gated: bool = False


ENCODERS = {  # DINOv2 (Oquab et al., TMLR 2024) without registers, by timm's names of the architectures
    "vit_small_patch14_dinov2": Encoder(384, 12, 6),
    "vit_base_patch14_dinov2": Encoder(768, 12, 12),
    "vit_large_patch14_dinov2": Encoder(1024, 24, 16),
    "vit_giant_patch14_dinov2": Encoder(1536, 40, 24, gated=True),
}
GATED = 2.66667  # the hidden width of SwiGLU's perceptron, of a token's


@dataclass(frozen=True, kw_only=True)
class Dinov2Config(ModelConfig):
    """A DINOv2 without registers, and DPT's pyramid on four of its blocks.

    backbone: timm's name of the DINOv2, with the tag of its weights
    taps: the four blocks, counted from 0, after which its tokens are read, through the final norm
    reassemble: channels of the four taps' maps, at 4, 2, 1 and 1/2 times the ViT's own grid
    features: channels of the pyramid
    backbone_size: side in pixels of the square whose grid has position embeddings; other sizes are resampled from them
    width, blocks, attention_heads: of the ViT, in place of its architecture's, for a smaller one; all three or none
    """

    taps: tuple[int, int, int, int]
    reassemble: tuple[int, int, int, int]
    features: int
    backbone_size: int = 518
    width: int | None = None
    blocks: int | None = None
    attention_heads: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.backbone.partition(".")[0] not in ENCODERS:
            raise self.refusal("backbone", f"a DINOv2 of timm's without registers, one of {', '.join(ENCODERS)}")
        own = (self.width, self.blocks, self.attention_heads)
        if any(own) and not all(one is not None and one >= 1 for one in own):
            raise self.refusal("width", "width, blocks and attention_heads together, each at least 1, or none of them")
        if self.encoder.width % self.encoder.heads:
            raise self.refusal("width", f"a multiple of the {self.encoder.heads} attention heads")
        if len(self.taps) != 4 or min(self.taps) < 0 or sorted(set(self.taps)) != list(self.taps):
            raise self.refusal("taps", "four block numbers, counted from 0 and rising")
        if self.taps[-1] >= self.encoder.blocks:
            raise self.refusal("taps", f"four of the blocks 0 to {self.encoder.blocks - 1}")
        if len(self.reassemble) != 4 or min(self.reassemble) < 1:
            raise self.refusal("reassemble", "four numbers of channels, each at least 1")
        if self.features < 2 or self.features % 2:
            raise self.refusal("features", "an even number of channels")
        if self.backbone_size < PATCH or self.backbone_size % PATCH:
            raise self.refusal("backbone_size", f"a multiple of the patches' {PATCH} pixels")

    @property
    def encoder(self) -> Encoder:
        """The ViT's numbers."""
        published = ENCODERS[self.backbone.partition(".")[0]]
        if self.width is None or self.blocks is None or self.attention_heads is None:
            return published
        return Encoder(self.width, self.blocks, self.attention_heads, published.gated)

    @property
    def fit(self) -> str:
        return "shorter"

    @property
    def published_side(self) -> int | None:
        return self.backbone_size

    def parameters(self) -> int | None:
        """With what is never used and stands in every published file: the mask token, the deepest fusion's first
        unit."""
        return self._trunk() + self._dpt() + self._end()

    def _trunk(self) -> int:
        d, tokens = self.encoder.width, (self.backbone_size // PATCH) ** 2 + 1
        gate = int(d * 2 * GATED) // 2
        perceptron = conv(d, 2 * gate) + conv(gate, d) if self.encoder.gated else conv(d, 4 * d) + conv(4 * d, d)
        each = 4 * d + 2 * d + conv(d, 3 * d) + conv(d, d) + perceptron  # two norms, two LayerScales, attention
        return conv(3, d, PATCH) + (tokens + 2) * d + (self.taps[-1] + 1) * each + 2 * d

    def _dpt(self) -> int:
        (a, b, _, e), w, d = self.reassemble, self.features, self.encoder.width
        scaled = conv(a, a, 4) + conv(b, b, 2) + conv(e, e, 3)  # 4/4 and 2/2 transposed, identity, 3x3 stride 2
        taps = sum(conv(d, c) + 9 * c * w for c in self.reassemble)
        return taps + scaled + 4 * (4 * conv(w, w, 3) + conv(w, w))

    def _end(self) -> int:
        half = self.features // 2
        return conv(self.features, half, 3) + conv(half, SQUEEZED, 3) + conv(SQUEEZED, 1)


@dataclass(frozen=True, kw_only=True)
class DepthAnythingConfig(Dinov2Config):
    """Depth Anything V2, relative or metric.

    max_depth: metres that a sigmoid of the last layer is multiplied with, for heads=("metric_depth",); none for
        heads=("disparity",), which ends with a ReLU. Published: 20 for rooms (Hypersim), 80 for streets (VKITTI2)
    """

    kind: Literal["depth_anything"] = "depth_anything"
    heads: tuple[str, ...] = ("disparity",)
    max_depth: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads not in (("disparity",), ("metric_depth",)):
            raise self.refusal("heads", "disparity or metric_depth, one of the two")
        metric = self.heads == ("metric_depth",)
        if metric and (self.max_depth is None or not 0 < self.max_depth < float("inf")):
            raise self.refusal("max_depth", "metres above 0 with heads=metric_depth, say 20 for rooms, 80 for streets")
        if not metric and self.max_depth is not None:
            raise self.refusal("max_depth", "none with heads=disparity, which has no unit; take heads=metric_depth")


@dataclass(frozen=True, kw_only=True)
class ZoeConfig(Dinov2Config):
    """Depth Anything V2's network with ZoeDepth's metric head: depth is a mean of bins' centres, which are told for
    each pixel from the deepest map to the finest.

    bins: softplus: centres are any metres above 0; normed: between `min_depth` and `max_depth`; hybrid1: they begin
        bounded and are moved unbounded; hybrid2: the reverse
    n_bins: how many; bin_embedding: channels that say how they are mixed
    attractors: points that pull centres towards them, at each of four levels, deepest first
    attractor_type: how a pull falls with distance: inv, 1 / (1 + 300 x^2), or exp, exp(-300 x^2)
    attractor_kind: whether pulls are averaged or added up
    min_depth, max_depth: metres, of what is bounded
    min_temp, max_temp: of the distribution over the bins
    pyramid: dpt, Depth Anything V2's, or adapter, maps at 1/8, 1/16 and 1/32 of the image that are fused at 1/8, see
        `networks/adapter.py`
    """

    kind: Literal["zoe"] = "zoe"
    heads: tuple[str, ...] = ("metric_depth",)
    bins: Bins = "softplus"
    n_bins: int = 64
    bin_embedding: int = 128
    attractors: tuple[int, int, int, int] = (16, 8, 4, 1)
    attractor_type: Literal["inv", "exp"] = "inv"
    attractor_kind: Literal["mean", "sum"] = "mean"
    min_depth: float = 1e-3
    max_depth: float = 10.0
    min_temp: float = 0.0212
    max_temp: float = 50.0
    pyramid: Literal["dpt", "adapter"] = "dpt"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads != ("metric_depth",):
            raise self.refusal("heads", "metric_depth")
        choices = {"bins": get_args(Bins), "attractor_type": ("inv", "exp"), "attractor_kind": ("mean", "sum")}
        for field, known in {**choices, "pyramid": ("dpt", "adapter")}.items():
            if getattr(self, field) not in known:
                raise self.refusal(field, f"one of {', '.join(known)}")
        if self.n_bins < 2:
            raise self.refusal("n_bins", "a number of bins, at least 2")
        if self.bin_embedding < 1:
            raise self.refusal("bin_embedding", "a number of channels, at least 1")
        if len(self.attractors) != 4 or min(self.attractors) < 1:
            raise self.refusal("attractors", "four numbers of attractors, each at least 1")
        if not 0 < self.min_depth < self.max_depth < float("inf"):
            raise self.refusal("max_depth", f"metres above min_depth, {self.min_depth:g}, which is above 0")
        if not 0 < self.min_temp <= self.max_temp < float("inf"):
            raise self.refusal("max_temp", f"at least min_temp, {self.min_temp:g}, which is above 0")

    @property
    def published_side(self) -> int | None:
        return 392  # of the shorter side, of 392 x 518

    def parameters(self) -> int | None:
        pyramid = self._dpt() if self.pyramid == "dpt" else self._adapter()
        return self._trunk() + pyramid + self._end() + self._metric()

    def _adapter(self) -> int:
        d, w = self.encoder.width, self.features
        return 3 * (conv(d, w) + conv(w, w, 3) + 2 * conv(w, w, 3)) + conv(3 * w, w) + 2 * conv(w, w, 3)

    def _metric(self) -> int:
        w, e, n = self.features, self.bin_embedding, self.n_bins
        seed = conv(w, w) + conv(w, SEED_HIDDEN) + conv(SEED_HIDDEN, n) + conv(w, HIDDEN) + conv(HIDDEN, e)
        pairs = 2 if self.bins in BOUNDED_ATTRACTORS else 1
        levels = sum(conv(w, HIDDEN) + conv(HIDDEN, e) + conv(e, HIDDEN) + conv(HIDDEN, pairs * a)
                     for a in self.attractors)  # fmt: skip
        seen = SQUEEZED + 1 + e
        return seed + levels + conv(seen, seen // 2) + conv(seen // 2, 4)


_SIZES: dict[str, dict[str, Any]] = {
    "vits": {
        "backbone": "vit_small_patch14_dinov2.lvd142m",
        "taps": (2, 5, 8, 11),
        "features": 64,
        "reassemble": (48, 96, 192, 384),
    },
    "vitb": {
        "backbone": "vit_base_patch14_dinov2.lvd142m",
        "taps": (2, 5, 8, 11),
        "features": 128,
        "reassemble": (96, 192, 384, 768),
    },
    "vitl": {
        "backbone": "vit_large_patch14_dinov2.lvd142m",
        "taps": (4, 11, 17, 23),
        "features": 256,
        "reassemble": (256, 512, 1024, 1024),
    },
    "vitg": {
        "backbone": "vit_giant_patch14_dinov2.lvd142m",
        "taps": (9, 19, 29, 39),
        "features": 384,
        "reassemble": (1536, 1536, 1536, 1536),
    },
    # Small enough for tests and for a first look on one core.
    "smoke": {
        "backbone": "vit_small_patch14_dinov2.lvd142m",
        "taps": (0, 1, 2, 3),
        "features": 16,
        "reassemble": (8, 8, 12, 16),
        "width": 32,
        "blocks": 4,
        "attention_heads": 2,
    },
}
_RELATIVE = {f"da2-{size}": DepthAnythingConfig(**numbers) for size, numbers in _SIZES.items()}
_ROOMS: dict[str, Any] = {"heads": ("metric_depth",), "max_depth": 20.0}
MODELS: dict[str, ModelConfig] = {
    **_RELATIVE,
    **{f"{name}-metric": replace(config, **_ROOMS) for name, config in _RELATIVE.items()},
    **{f"da2-zoe-{size}": ZoeConfig(**_SIZES[size]) for size in ("vits", "vitb", "vitl")},
    "da2-zoe-smoke": ZoeConfig(**_SIZES["smoke"], n_bins=16, bin_embedding=16, attractors=(4, 4, 2, 1)),
}
