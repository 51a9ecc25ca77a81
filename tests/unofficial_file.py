"""What the unofficial PyTorch implementation of DAViD saves, tensor by tensor, and what its network computes of it.

Written down from what is known of its files, in float64, one image after the other, without anything of david's.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]

# The tiny twin: `test_vit` of timm has 6 blocks of 64 channels with 2 heads, patches of 16, an MLP three times as wide.
BACKBONE, DEPTH, CHANNELS, ATTENTION_HEADS, MLP = "test_vit.r160_in1k", 6, 64, 2, 3
SIDE, TAPS, WIDTH, HALF, FULL, CLASSES = 48, (0, 2, 3, 5), 8, 8, 4, 7
REASSEMBLE = (4, 8, 12, 16)
TINY = {
    **{"backbone": BACKBONE, "backbone_size": SIDE, "taps": TAPS, "reassemble": REASSEMBLE, "width": WIDTH},
    **{"head_widths": (HALF, FULL), "classes": CLASSES},
}
HEADS = {
    **{"depth_head": 1, "depth_head2": 1, "normal_head": 3, "normal_head2": 3, "alpha_head": 1, "alpha_head2": 1},
    **{"basecolor_head2": 3, "geo_head2": 3},
}
RESIZER = (WIDTH // 4, WIDTH // 2, WIDTH, WIDTH)


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape."""
    d, vit = CHANNELS, "pretrained.model."
    yield f"{vit}cls_token", (1, 1, d)
    yield f"{vit}pos_embed", (1, (SIDE // 16) ** 2 + 1, d)
    yield from _pair(f"{vit}patch_embed.proj", (d, 3, 16, 16))
    for block in range(DEPTH):
        at = f"{vit}blocks.{block}."
        yield from _pair(f"{at}norm1", (d,))
        yield from _pair(f"{at}attn.qkv", (3 * d, d))
        yield from _pair(f"{at}attn.proj", (d, d))
        yield from _pair(f"{at}norm2", (d,))
        yield from _pair(f"{at}mlp.fc1", (MLP * d, d))
        yield from _pair(f"{at}mlp.fc2", (d, MLP * d))
    yield from _pair(f"{vit}norm", (d,))
    yield from _pair(f"{vit}head", (CLASSES, d))
    for number, c in enumerate(REASSEMBLE, start=1):
        at = f"pretrained.act_postprocess{number}."
        yield from _pair(f"{at}0.project.0", (d, 2 * d))
        yield from _pair(f"{at}3", (c, d, 1, 1))
        if number != 3:
            side = {1: 4, 2: 2, 4: 3}[number]
            yield from _pair(f"{at}4", (c, c, side, side))
        yield f"scratch.layer{number}_rn.weight", (WIDTH, c, 3, 3)
    for number, (before, after) in enumerate(zip((3, *RESIZER), RESIZER, strict=False), start=1):
        yield from _normed(f"resizer.resizer{number}.conv", ("0", "1"), before, after)
        yield from _normed(f"resizer.resizer{number}.conv", ("3", "4"), after, after)
    for number, fine in enumerate(RESIZER, start=1):
        at = f"decoder_block{number}."
        for unit in ("encoder_rconv", "intermediate_rconv"):
            yield from _normed(f"{at}{unit}", ("conv1", "bn1"), WIDTH, WIDTH)
            yield from _normed(f"{at}{unit}", ("conv2", "bn2"), WIDTH, WIDTH)
        yield from _normed(f"{at}final_conv", ("0", "1"), fine + WIDTH, WIDTH)
        yield from _normed(f"{at}final_conv", ("3", "4"), WIDTH, WIDTH)
    for name, channels in HEADS.items():
        yield from _pair(f"{name}.0", (HALF, WIDTH, 3, 3))
        yield from _pair(f"{name}.2", (FULL, HALF, 3, 3))
        yield from _pair(f"{name}.4", (channels, FULL, 1, 1))


def _pair(name: str, weight: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]


def _normed(at: str, names: tuple[str, str], before: int, after: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{at}.{names[0]}.weight", (after, before, 3, 3)
    yield from _pair(f"{at}.{names[1]}", (after,))
    yield f"{at}.{names[1]}.running_mean", (after,)
    yield f"{at}.{names[1]}.running_var", (after,)
    yield f"{at}.{names[1]}.num_batches_tracked", ()


def drawn(seed: int) -> State:
    """The tensors, float32 as they are saved."""
    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in shapes():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1234)
        elif name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
            low = 1.0 if name.endswith("running_var") else 0.4  # else each norm makes what it gets larger
            state[name] = torch.from_numpy(rng.uniform(low, 2 * low, shape)).float()
        else:
            spread = 1.4 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 and "_embed" not in name else 0.2
            spread *= 0.3 if ".4.weight" in name and "head" in name else 1  # else tanh and ReLU leave little to see
            state[name] = torch.from_numpy(rng.normal(0, spread, shape)).float()
    state["depth_head.4.bias"] = torch.tensor([0.0])  # depth is cut off at 0 here and there
    state["normal_head.4.bias"] = torch.tensor([0.5, -0.4, 0.6])  # nowhere near (0, 0, 0)
    return state


class Plain:
    """The network of a state, image by image. Images: (3, H, W) float64, RGB 0 .. 1."""

    def __init__(self, state: State):
        self.state = {name: tensor.double() for name, tensor in state.items()}

    def __call__(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """depth (H, W), normals (3, H, W) as they are saved, Z, Y, X and not unit, and alpha_logits (H, W)."""
        x, size = image[None].double(), image.shape[-2:]
        if size == (SIDE, SIDE):
            seen = x
        elif size == (SIDE * 4 // 3, SIDE):  # a tall image: its middle rows
            top = (size[0] - SIDE) // 2
            seen = x[:, :, top : top + SIDE]
        else:
            seen = self._resized(x, (SIDE, SIDE))
        taps = self._taps(seen)
        fine = []
        for number in range(1, 5):
            at = f"resizer.resizer{number}.conv"
            x = self._norm(f"{at}.1", self._conv(f"{at}.0", x, stride=2, padding=1)).relu()
            x = self._norm(f"{at}.4", self._conv(f"{at}.3", x, padding=1)).relu()
            fine.append(x)
        below = None
        for number in (4, 3, 2, 1):
            at = f"decoder_block{number}"
            here = fine[number - 1].shape[-2:]
            y = self._resized(self._residual(f"{at}.encoder_rconv", taps[number - 1]), here)
            if below is not None:
                y = y + self._resized(below, here)
            y = torch.cat([fine[number - 1], self._residual(f"{at}.intermediate_rconv", y)], dim=1)
            y = self._norm(f"{at}.final_conv.1", self._conv(f"{at}.final_conv.0", y, padding=1)).relu()
            below = self._norm(f"{at}.final_conv.4", self._conv(f"{at}.final_conv.3", y, padding=1)).relu()
        assert below is not None
        said = {}
        for head, end in (("depth_head", torch.relu), ("normal_head", torch.tanh), ("alpha_head", torch.clone)):
            y = self._conv(f"{head}.0", below, padding=1)
            y = self._resized(y, (2 * y.shape[-2], 2 * y.shape[-1]))
            y = self._conv(f"{head}.4", self._conv(f"{head}.2", y, padding=1).relu())
            said[head] = self._resized(end(y), size)[0]
        return {"depth": said["depth_head"][0], "normals": said["normal_head"], "alpha_logits": said["alpha_head"][0]}

    def _taps(self, image: torch.Tensor) -> list[torch.Tensor]:
        state, vit, d, grid = self.state, "pretrained.model.", CHANNELS, SIDE // 16
        tokens = self._conv(f"{vit}patch_embed.proj", image, stride=16).flatten(2).transpose(1, 2)
        x = torch.cat([state[f"{vit}cls_token"], tokens], dim=1) + state[f"{vit}pos_embed"]
        taps = []
        for block in range(DEPTH):
            at = f"{vit}blocks.{block}."
            qkv = self._linear(f"{at}attn.qkv", self._layer_norm(f"{at}norm1", x))[0]
            answers = []
            for number in range(ATTENTION_HEADS):
                own = d // ATTENTION_HEADS
                q, k, v = (qkv[:, part * d + number * own : part * d + (number + 1) * own] for part in range(3))
                answers.append(torch.softmax(q @ k.T / math.sqrt(own), dim=1) @ v)
            x = x + self._linear(f"{at}attn.proj", torch.cat(answers, dim=1)[None])
            x = x + self._linear(
                f"{at}mlp.fc2", F.gelu(self._linear(f"{at}mlp.fc1", self._layer_norm(f"{at}norm2", x)))
            )
            if block in TAPS:
                number = TAPS.index(block) + 1
                at = f"pretrained.act_postprocess{number}."
                patches, cls = x[:, 1:], x[:, :1].expand(-1, grid * grid, -1)
                y = F.gelu(self._linear(f"{at}0.project.0", torch.cat([patches, cls], dim=2)))
                y = self._conv(f"{at}3", y.transpose(1, 2).reshape(1, d, grid, grid))
                if number in (1, 2):
                    w, b = state[f"{at}4.weight"], state[f"{at}4.bias"]
                    y = F.conv_transpose2d(y, w, b, stride=w.shape[-1])
                elif number == 4:
                    y = self._conv(f"{at}4", y, stride=2, padding=1)
                taps.append(self._conv(f"scratch.layer{number}_rn", y, padding=1))
        return taps

    def _conv(self, name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **how)

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def _layer_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return y * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def _residual(self, name: str, x: torch.Tensor) -> torch.Tensor:
        y = self._norm(f"{name}.bn1", self._conv(f"{name}.conv1", x, padding=1)).relu()
        return (x + self._norm(f"{name}.bn2", self._conv(f"{name}.conv2", y, padding=1))).relu()

    @staticmethod
    def _resized(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Bilinear with the corners on each other: row i of the result lies at i (h - 1) / (H - 1)."""
        for axis, length in ((2, size[0]), (3, size[1])):
            before = x.shape[axis]
            at = torch.arange(length).double() * (before - 1) / max(1, length - 1)
            low = at.floor().long().clamp(max=before - 1)
            high, share = (low + 1).clamp(max=before - 1), at - low
            share = share.reshape(-1, 1) if axis == 2 else share
            x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
        return x
