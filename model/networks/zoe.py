"""ZoeDepth's metric head (Bhat et al., "ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth", 2023) on
Depth Anything V2's network.

Depth is the mean of bins' centres, each pixel with bins and shares of its own. Centres begin at the deepest map and are
pulled by attractors at each finer one; the shares are a binomial distribution of a temperature (section 3.2 there).

Two things that its code does and its paper does not say are in every checkpoint, so they are kept: a bounded attractor
is the first of a pair of numbers, not their share; and pulls fall with 300 and the square of the distance, whatever a
configuration says.

B images, K bins, A attractors, h x w the size of a map.
"""

import torch
import torch.nn.functional as F
from torch import nn

from david.model.configs.depth_anything import (
    BOUNDED_ATTRACTORS,
    BOUNDED_SEED,
    HIDDEN,
    SEED_HIDDEN,
    SQUEEZED,
    ZoeConfig,
)
from david.model.initialise import keep_variance
from david.model.networks.adapter import Adapter
from david.model.networks.depth_anything import OnPatches
from david.model.networks.dpt import Pyramid, enlarged

STRENGTH = 300.0  # of a pull
LEAST = 1e-3  # added to bounded widths and attractors
SMALL = 1e-4  # added to what p and the temperature are shares of; the least probability whose logarithm is taken


class Zoe(OnPatches):
    """Image to metres."""

    output = "metric_depth_m"
    wide = ("metric",)  # see `DenseHead`

    def __init__(self, config: ZoeConfig):
        tokens = config.encoder.width
        dpt = config.pyramid == "dpt"
        pyramid = Pyramid(tokens, config.reassemble, config.features) if dpt else Adapter(tokens, config.features)
        super().__init__(config, pyramid)
        self.metric = Metric(config)

    def say(self, maps: list[torch.Tensor], read: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        with torch.autocast(read.device.type, enabled=False):  # centimetres of metres: more than bfloat16 tells
            return self.metric([each.float() for each in maps], torch.cat([read, last.relu()], dim=1))


class Metric(nn.Module):
    """The head by itself, in float32."""

    def __init__(self, config: ZoeConfig):
        super().__init__()
        features, embedding, self.config = config.features, config.bin_embedding, config
        self.squeeze = keep_variance(nn.Conv2d(features, features, kernel_size=1))
        self.seed = perceptron(features, SEED_HIDDEN, config.n_bins)
        self.seed_embedding = perceptron(features, HIDDEN, embedding)
        self.levels = nn.ModuleList(Level(config, attractors) for attractors in config.attractors)
        self.mixture = Mixture(SQUEEZED + 1 + embedding, config.n_bins, config.min_temp, config.max_temp)

    def forward(self, maps: list[torch.Tensor], finest: torch.Tensor) -> torch.Tensor:
        """maps: (B, features, h, w), the deepest tap's, then four levels'; finest: (B, 33, H, W), what DPT's last layer
        reads and the relative disparity that it says. Gives metres, (B, 1, H, W)."""
        deepest = self.squeeze(maps[0])
        centres = self.seeded(self.seed(deepest))
        embedding = self.seed_embedding(deepest)
        metres = centres
        for level, features in zip(self.levels, maps[1:], strict=True):
            centres, metres, embedding = level(features, centres, embedding)
        size = finest.shape[-2:]
        shares = self.mixture(torch.cat([finest, enlarged(embedding, size)], dim=1))
        return (shares * enlarged(metres, size)).sum(dim=1, keepdim=True)

    def seeded(self, raw: torch.Tensor) -> torch.Tensor:
        """The first centres, (B, K, h, w): in metres, or as shares of the range where attractors are bounded."""
        config = self.config
        span = config.max_depth - config.min_depth
        if config.bins in BOUNDED_SEED:
            widths = raw.relu() + LEAST
            widths = span * widths / widths.sum(dim=1, keepdim=True)
            edges = config.min_depth + widths.cumsum(dim=1)
            metres = edges - widths / 2
        else:
            metres = F.softplus(raw)
        return (metres - config.min_depth) / span if config.bins in BOUNDED_ATTRACTORS else metres


class Level(nn.Module):
    """One map's attractors, which pull the centres of the level before."""

    def __init__(self, config: ZoeConfig, attractors: int):
        super().__init__()
        self.config, self.bounded = config, config.bins in BOUNDED_ATTRACTORS
        self.embedding = perceptron(config.features, HIDDEN, config.bin_embedding)
        self.attractors = perceptron(config.bin_embedding, HIDDEN, attractors * (2 if self.bounded else 1))

    def forward(
        self, features: torch.Tensor, centres: torch.Tensor, before: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """features: (B, C, h, w); centres, before: the level's before it, with its embedding, of any size. Gives the
        centres that go on to the next level, the same in metres, and this level's embedding."""
        embedding, size = self.embedding(features), features.shape[-2:]
        raw = self.attractors(embedding + enlarged(before, size))
        points = raw[:, ::2].relu() + LEAST if self.bounded else F.softplus(raw)  # the first of each pair
        centres = enlarged(centres, size)
        pull = torch.zeros_like(centres)
        for point in points.unbind(1):  # one at a time: A x K maps at once are gigabytes
            away = point[:, None] - centres
            fades = torch.exp(-STRENGTH * away.square()) if self.config.attractor_type == "exp" else None
            pull = pull + (away / (1 + STRENGTH * away.square()) if fades is None else away * fades)
        centres = centres + (pull / points.shape[1] if self.config.attractor_kind == "mean" else pull)
        return centres, self.metres(centres), embedding

    def metres(self, centres: torch.Tensor) -> torch.Tensor:
        """Of bounded centres: scaled, sorted and cut off at the range."""
        if not self.bounded:
            return centres
        low, high = self.config.min_depth, self.config.max_depth
        return ((high - low) * centres + low).sort(dim=1).values.clamp(low, high)


class Mixture(nn.Module):
    """What share each bin has in a pixel: softmax of the binomial distribution's logarithm over a temperature."""

    logs: torch.Tensor
    numbers: torch.Tensor

    def __init__(self, seen: int, bins: int, coldest: float, hottest: float):
        super().__init__()
        self.layers = nn.Sequential(
            keep_variance(nn.Conv2d(seen, seen // 2, kernel_size=1)),
            nn.GELU(),
            keep_variance(nn.Conv2d(seen // 2, 4, kernel_size=1), rectified=True),
            nn.Softplus(),
        )
        self.most, self.coldest, self.hottest = bins - 1, coldest, hottest
        numbers = torch.arange(bins, dtype=torch.float64)
        self.register_buffer("logs", log_choose(bins - 1, numbers).float().view(-1, 1, 1), persistent=False)
        self.register_buffer("numbers", numbers.float().view(-1, 1, 1), persistent=False)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """(B, channels, H, W) to (B, K, H, W), whose sum over K is 1."""
        first, second, cold, hot = (self.layers(seen) + SMALL).split(1, dim=1)
        p, share = first / (first + second), cold / (cold + hot)
        temperature = (self.hottest - self.coldest) * share + self.coldest
        log = self.logs + self.numbers * p.clamp(min=SMALL).log()
        log = log + (self.most - self.numbers) * (1 - p).clamp(min=SMALL).log()
        return (log / temperature).softmax(dim=1)


def log_choose(n: int, k: torch.Tensor, small: float = 1e-7) -> torch.Tensor:
    """log C(n, k) by Stirling's n log n - k log k - (n - k) log (n - k), float64."""
    whole, k = k.new_tensor(n + small), k + small
    return whole * whole.log() - k * k.log() - (whole - k) * (whole - k + small).log()


def perceptron(before: int, hidden: int, after: int) -> nn.Sequential:
    """Two 1x1 convolutions with a ReLU between them."""
    return nn.Sequential(
        keep_variance(nn.Conv2d(before, hidden, kernel_size=1)),
        nn.ReLU(inplace=True),
        keep_variance(nn.Conv2d(hidden, after, kernel_size=1), rectified=True),
    )
