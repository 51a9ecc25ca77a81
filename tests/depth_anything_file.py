"""What Depth Anything V2's and ZoeDepth's authors save, tensor by tensor, and what their networks compute of it.

Written down from what is known of their files and formulas, in float64, one image at a time, without anything of
david's. Tiny: 5 blocks of 32 channels, which a configuration of the same numbers makes too.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]

D, BLOCKS, ATTENTION_HEADS, PATCH, GRID = 32, 5, 2, 14, 37
TAPS, FEATURES, REASSEMBLE = (0, 1, 3, 4), 8, (4, 6, 8, 10)
GATE = 85  # of SwiGLU: 32 x 2.66667, rounded down
BINS, EMBEDDING, ATTRACTORS = 6, 4, (4, 3, 2, 1)
MIN_DEPTH, MAX_DEPTH, MIN_TEMP, MAX_TEMP = 1e-3, 10.0, 0.0212, 50.0
TINY = {"width": D, "blocks": BLOCKS, "attention_heads": ATTENTION_HEADS, "taps": TAPS, "features": FEATURES,
        "reassemble": REASSEMBLE}  # fmt: skip
ZOE = {**TINY, "n_bins": BINS, "bin_embedding": EMBEDDING, "attractors": ATTRACTORS}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BOUNDED_SEED, BOUNDED_ATTRACTORS = ("normed", "hybrid1"), ("normed", "hybrid2")

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def shapes(gated: bool = False) -> Shapes:
    """Every tensor's name and shape of a file of Depth Anything V2, relative or metric."""
    p, h = "pretrained.", "depth_head."
    yield f"{p}cls_token", (1, 1, D)
    yield f"{p}pos_embed", (1, GRID * GRID + 1, D)
    yield f"{p}mask_token", (1, D)
    yield from _pair(f"{p}patch_embed.proj", (D, 3, PATCH, PATCH))
    for block in range(BLOCKS):
        at = f"{p}blocks.{block}."
        yield from _pair(f"{at}norm1", (D,))
        yield from _pair(f"{at}attn.qkv", (3 * D, D))
        yield from _pair(f"{at}attn.proj", (D, D))
        yield f"{at}ls1.gamma", (D,)
        yield from _pair(f"{at}norm2", (D,))
        if gated:
            yield from _pair(f"{at}mlp.w12", (2 * GATE, D))
            yield from _pair(f"{at}mlp.w3", (D, GATE))
        else:
            yield from _pair(f"{at}mlp.fc1", (4 * D, D))
            yield from _pair(f"{at}mlp.fc2", (D, 4 * D))
        yield f"{at}ls2.gamma", (D,)
    yield from _pair(f"{p}norm", (D,))
    for number, c in enumerate(REASSEMBLE):
        yield from _pair(f"{h}projects.{number}", (c, D, 1, 1))
        if number != 2:
            side = (4, 2, 0, 3)[number]
            yield from _pair(f"{h}resize_layers.{number}", (c, c, side, side))
        yield f"{h}scratch.layer{number + 1}_rn.weight", (FEATURES, c, 3, 3)
    for number in (1, 2, 3, 4):
        at = f"{h}scratch.refinenet{number}."
        yield from _pair(f"{at}out_conv", (FEATURES, FEATURES, 1, 1))
        for unit in ("resConfUnit1", "resConfUnit2"):
            for conv in ("conv1", "conv2"):
                yield from _pair(f"{at}{unit}.{conv}", (FEATURES, FEATURES, 3, 3))
    yield from _pair(f"{h}scratch.output_conv1", (FEATURES // 2, FEATURES, 3, 3))
    yield from _pair(f"{h}scratch.output_conv2.0", (32, FEATURES // 2, 3, 3))
    yield from _pair(f"{h}scratch.output_conv2.2", (1, 32, 1, 1))


def zoe_shapes(bins: str) -> Shapes:
    """The same of ZoeDepth on it."""
    yield from ((f"core.core.{name}", shape) for name, shape in shapes())
    yield from _pair("conv2", (FEATURES, FEATURES, 1, 1))
    yield from _net("seed_bin_regressor", FEATURES, 256, BINS)
    yield from _net("seed_projector", FEATURES, 128, EMBEDDING)
    for level, attractors in enumerate(ATTRACTORS):
        yield from _net(f"projectors.{level}", FEATURES, 128, EMBEDDING)
        yield from _net(f"attractors.{level}", EMBEDDING, 128, attractors * (2 if bins in BOUNDED_ATTRACTORS else 1))
    at = "conditional_log_binomial."
    yield f"{at}log_binomial_transform.k_idx", (1, BINS, 1, 1)
    yield f"{at}log_binomial_transform.K_minus_1", (1, 1, 1, 1)
    seen = 33 + EMBEDDING
    yield from _pair(f"{at}mlp.0", (seen // 2, seen, 1, 1))
    yield from _pair(f"{at}mlp.2", (4, seen // 2, 1, 1))


def _pair(name: str, weight: tuple[int, ...]) -> Shapes:
    across = name.endswith(("resize_layers.0", "resize_layers.1"))  # transposed, but as wide before as after
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[1:2] if across else weight[:1]


def _net(name: str, before: int, hidden: int, after: int) -> Shapes:
    yield from _pair(f"{name}._net.0", (hidden, before, 1, 1))
    yield from _pair(f"{name}._net.2", (after, hidden, 1, 1))


def drawn(seed: int, named: Shapes | None = None, pull: float = 0.0) -> State:
    """The tensors, float32 as they are saved, that say something all over. pull: where attractors lie."""
    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in named or shapes():
        if name.endswith("k_idx"):
            state[name] = torch.arange(BINS).view(shape)
        elif name.endswith("K_minus_1"):
            state[name] = torch.full(shape, float(BINS - 1))
        elif name.endswith(("gamma", "norm1.weight", "norm2.weight", "norm.weight")):
            state[name] = torch.from_numpy(rng.uniform(0.4, 1.2, shape)).float()
        elif name.endswith(("token", "embed")):
            state[name] = torch.from_numpy(rng.normal(0, 0.1, shape)).float()
        else:
            own = not any(part in name for part in ("pretrained.", "depth_head."))  # ZoeDepth's, which begin flat
            # the first: a small variance before the first norm, whose eps is then seen
            spread = 0.1 if "patch_embed" in name else 1.0 if own else 0.8
            fan = math.prod(shape[1:]) / (16 if "resize_layers.0" in name else 4 if "resize_layers.1" in name else 1)
            state[name] = torch.from_numpy(
                rng.normal(0, spread / math.sqrt(fan) if len(shape) > 1 else 0.1, shape)
            ).float()
    for name in state:  # metres, not centimetres of a range of ten: else float32's rounding is a large share of them
        if name.endswith("_net.2.bias") and name.startswith(("seed_bin", "attractors")):
            state[name] += 2.0 if name.startswith("seed") else pull
    last = next((name for name in state if name.endswith("output_conv2.2.bias")), None)
    if last is not None:
        state[last] = torch.tensor([0.0])  # on both sides of 0
    return state


def zoe_drawn(seed: int, bins: str) -> State:
    """The tensors of a file of ZoeDepth, with attractors among the centres: further off they would pull nothing."""
    return drawn(seed, zoe_shapes(bins), {"softplus": 2.0, "normed": 0.4, "hybrid1": 5.0, "hybrid2": 0.2}[bins])


class Plain:
    """The networks of a state. Images: (3, H, W) float64, RGB 0 .. 1, H and W multiples of 14."""

    eps, tanh, corners, final_norm, taps, by_factor = 1e-6, False, True, True, TAPS, True

    def __init__(self, state: State, core: str = ""):
        self.state, self.core = {name: tensor.double() for name, tensor in state.items()}, core

    def disparity(self, image: torch.Tensor) -> torch.Tensor:
        """(H, W)."""
        return self.parts(image)[1].relu()[0, 0]

    def metres(self, image: torch.Tensor, max_depth: float) -> torch.Tensor:
        """(H, W)."""
        return 1 / (1 + (-self.parts(image)[1][0, 0]).exp()) * max_depth

    def parts(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """What the last layer reads, what it says, and layer4_rn and r4, r3, r2, r1."""
        h, w = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        at = f"{self.core}depth_head."
        maps = []
        for number, tokens in enumerate(self.tokens(image)):
            x = self._conv(f"{at}projects.{number}", tokens.T.reshape(1, D, h, w))
            name = f"{at}resize_layers.{number}"
            if number < 2:
                weight = self.state[f"{name}.weight"]
                x = F.conv_transpose2d(x, weight, self.state[f"{name}.bias"], stride=weight.shape[-1])
            elif number == 3:
                x = self._conv(name, x, stride=2, padding=1)
            maps.append(self._conv(f"{at}scratch.layer{number + 1}_rn", x, padding=1))
        pyramid, x = [maps[3]], None
        for number in (4, 3, 2, 1):
            name = f"{at}scratch.refinenet{number}"
            x = maps[3] if x is None else x + self._unit(f"{name}.resConfUnit1", maps[number - 1])
            x = self._unit(f"{name}.resConfUnit2", x)
            size = tuple(maps[number - 2].shape[-2:]) if number > 1 else (2 * x.shape[-2], 2 * x.shape[-1])
            x = self._conv(f"{name}.out_conv", self._resized(x, size))
            pyramid.append(x)
        x = self._resized(self._conv(f"{at}scratch.output_conv1", x, padding=1), (h * PATCH, w * PATCH))
        read = self._conv(f"{at}scratch.output_conv2.0", x, padding=1).relu()
        return read, self._conv(f"{at}scratch.output_conv2.2", read), pyramid

    def tokens(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Patch tokens (h * w, D) after each tap."""
        p, state = f"{self.core}pretrained.", self.state
        mean, std = (torch.tensor(one).double().view(3, 1, 1) for one in (MEAN, STD))
        patches = self._conv(f"{p}patch_embed.proj", ((image - mean) / std)[None], stride=PATCH)[0]  # (D, h, w)
        x = torch.cat([state[f"{p}cls_token"][0], patches.flatten(1).T]) + self._positions(*patches.shape[-2:])
        seen = []
        for block in range(BLOCKS):
            at = f"{p}blocks.{block}."
            q, k, v = self._linear(f"{at}attn.qkv", self._norm(f"{at}norm1", x)).chunk(3, dim=1)
            own = D // ATTENTION_HEADS
            answers = []
            for head in range(ATTENTION_HEADS):
                part = slice(head * own, (head + 1) * own)
                answers.append(torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(own), dim=1) @ v[:, part])
            x = x + state[f"{at}ls1.gamma"] * self._linear(f"{at}attn.proj", torch.cat(answers, dim=1))
            y = self._norm(f"{at}norm2", x)
            if f"{at}mlp.w12.weight" in state:
                gate, value = self._linear(f"{at}mlp.w12", y).chunk(2, dim=1)
                y = self._linear(f"{at}mlp.w3", gate / (1 + (-gate).exp()) * value)
            else:
                y = self._linear(f"{at}mlp.fc2", self._gelu(self._linear(f"{at}mlp.fc1", y)))
            x = x + state[f"{at}ls2.gamma"] * y
            if block in self.taps:
                seen.append((self._norm(f"{p}norm", x) if self.final_norm else x)[1:])
        return seen

    def _positions(self, h: int, w: int) -> torch.Tensor:
        """(1 + h * w, D), bicubic with the coordinates of the factors (h + 0.1) / 37 and (w + 0.1) / 37."""
        own = self.state[f"{self.core}pretrained.pos_embed"][0]
        if (h, w) == (GRID, GRID):
            return own
        table = own[1:].reshape(GRID, GRID, D)
        more = 0.1 if self.by_factor else 0.0
        there = torch.zeros(h, w, D, dtype=torch.float64)
        rows, columns = ([_cubic((i + 0.5) * GRID / (n + more) - 0.5) for i in range(n)] for n in (h, w))
        across = torch.stack([_sum(share * table[:, at] for at, share in one) for one in columns], dim=1)  # (37, w, D)
        for y, one in enumerate(rows):
            there[y] = _sum(share * across[at] for at, share in one)
        return torch.cat([own[:1], there.flatten(0, 1)])

    def zoe(
        self, parts: tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]], bins: str, fall: str, kind: str
    ) -> torch.Tensor:
        """Metres (H, W) of what `parts` gave. fall: inv or exp; kind: mean or sum."""
        read, last, (deepest, *levels) = parts
        span = MAX_DEPTH - MIN_DEPTH
        x = self._conv("conv2", deepest)
        raw = self._net("seed_bin_regressor", x)
        if bins in BOUNDED_SEED:
            widths = raw.relu() + 1e-3
            widths = widths / widths.sum(1, keepdim=True) * span
            edges = [torch.full_like(widths[:, 0], MIN_DEPTH)]
            for number in range(BINS):
                edges.append(edges[-1] + widths[:, number])
            centres = torch.stack([(a + b) / 2 for a, b in pairwise(edges)], dim=1)
        else:
            centres = raw.exp().log1p()
        if bins in BOUNDED_ATTRACTORS:
            centres = (centres - MIN_DEPTH) / span
        embedding, metres = self._net("seed_projector", x), centres
        for number, features in enumerate(levels):
            size = tuple(features.shape[-2:])
            before, embedding = embedding, self._net(f"projectors.{number}", features)
            raw = self._net(f"attractors.{number}", embedding + self._resized(before, size))
            points = raw.relu()[:, 0::2] + 1e-3 if bins in BOUNDED_ATTRACTORS else raw.exp().log1p()
            centres = self._resized(centres, size)
            away = points[:, :, None] - centres[:, None]
            moved = away * (-300 * away.abs() ** 2).exp() if fall == "exp" else away / (1 + 300 * away**2)
            centres = centres + (moved.mean(1) if kind == "mean" else moved.sum(1))
            metres = (centres * span + MIN_DEPTH).sort(1).values.clip(MIN_DEPTH, MAX_DEPTH)
            metres = metres if bins in BOUNDED_ATTRACTORS else centres
        size = tuple(read.shape[-2:])
        seen = torch.cat([read, last.relu(), self._resized(embedding, size)], dim=1)
        at = "conditional_log_binomial.mlp."
        four = self._conv(f"{at}2", self._gelu(self._conv(f"{at}0", seen))).exp().log1p() + 1e-4
        p, t = four[:, :1] / four[:, :2].sum(1, keepdim=True), four[:, 2:3] / four[:, 2:].sum(1, keepdim=True)
        t = (MAX_TEMP - MIN_TEMP) * t + MIN_TEMP
        logs = []
        for k in range(BINS):
            n_, k_ = BINS - 1 + 1e-7, k + 1e-7
            choose = n_ * math.log(n_) - k_ * math.log(k_) - (n_ - k_) * math.log(n_ - k_ + 1e-7)
            logs.append(choose + k * p.clip(1e-4, 1).log() + (BINS - 1 - k) * (1 - p).clip(1e-4, 1).log())
        shares = torch.softmax(torch.cat(logs, dim=1) / t, dim=1)
        return (shares * self._resized(metres, size)).sum(1)[0]

    def _net(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self._conv(f"{name}._net.2", self._conv(f"{name}._net.0", x).relu())

    def _unit(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x + self._conv(f"{name}.conv2", self._conv(f"{name}.conv1", x.relu(), padding=1).relu(), padding=1)

    def _gelu(self, x: torch.Tensor) -> torch.Tensor:
        if self.tanh:
            return x / 2 * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh())
        return x / 2 * (1 + torch.erf(x / math.sqrt(2)))

    def _conv(self, name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **how)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + self.eps).sqrt()
        return y * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def _resized(self, x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Bilinear with the corners on each other: row i of the result lies at i (h - 1) / (H - 1)."""
        for axis, length in ((2, size[0]), (3, size[1])):
            before = x.shape[axis]
            if self.corners:
                at = torch.arange(length).double() * (before - 1) / max(1, length - 1)
            else:
                at = ((torch.arange(length).double() + 0.5) * before / length - 0.5).clip(0, before - 1)
            low = at.floor().long().clamp(max=before - 1)
            high, share = (low + 1).clamp(max=before - 1), at - low
            share = share.reshape(-1, 1) if axis == 2 else share
            x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
        return x


def _sum(parts: Iterator[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(parts)).sum(0)


def _cubic(at: float) -> list[tuple[int, float]]:
    """Four neighbours of a place, clamped to the table, with their shares; the coefficient is -0.75."""
    a, first, found = -0.75, math.floor(at), []
    for n in range(first - 1, first + 3):
        x = abs(at - n)
        share = (a + 2) * x**3 - (a + 3) * x**2 + 1 if x <= 1 else a * (x**3 - 5 * x**2 + 8 * x - 4)
        found.append((min(max(n, 0), GRID - 1), share))
    return found
