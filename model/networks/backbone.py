"""The vision transformer: image to tokens.

B images, G x G patches (the ViT's grid), D channels of a token.
"""

from typing import Any

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import nn

from david.model.resize import antialiased
from david.pack.errors import DavidError

ViT = Any  # a timm model of one of several classes; `_create` asks for what we use of it


class Backbone(nn.Module):
    """A timm ViT on the image resized to its own square, read after some of its blocks.

    The blocks' outputs are read as they are, without the final norm. Blocks after the last tap, the final norm and
    the classifier are cut away: every parameter that is left gets a gradient in every step.
    """

    vit: ViT

    def __init__(self, name: str, side: int, taps: tuple[int, ...]):
        """name: timm's, with the tag of its weights; side: of the square that it sees, in pixels; taps: the blocks,
        counted from 0 and rising, after which it is read"""
        super().__init__()
        self.vit, self.taps = _cut(_create(name, side), name, side, taps[-1]), list(taps)
        self.size = (side, side)
        self.channels: int = self.vit.embed_dim
        self.grid: tuple[int, int] = self.vit.patch_embed.grid_size
        self.mean: tuple[float, ...] = self.vit.pretrained_cfg["mean"]
        self.std: tuple[float, ...] = self.vit.pretrained_cfg["std"]

    def freeze(self) -> None:
        """No gradient from now on, and evaluation mode whatever mode the network is in."""
        self.requires_grad_(False).train()

    def train(self, mode: bool = True) -> "Backbone":
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def tokens(self, height: int | None, width: int | None) -> int:
        """How many its blocks compute for an image of that size; without one, of the size that it was made for."""
        return self.grid[0] * self.grid[1] + self.vit.num_prefix_tokens

    def forward(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(B, 3, H, W) normalised image to pairs, one a tap, of patch tokens (B, G * G, D) and class token (B, 1, D).

        A ViT without a class token (SigLIP) has the mean of its patches there; register tokens (DINOv2, DINOv3) are
        left out. The resize is antialiased: an image much larger than the ViT's square must not alias into it.
        """
        image = antialiased(image, self.size)
        how = {"output_fmt": "NLC", "intermediates_only": True}
        if self.vit.cls_token is None:
            taps = self.vit.forward_intermediates(image, self.taps, **how)
            return [(patches, patches.mean(1, keepdim=True)) for patches in taps]
        taps = self.vit.forward_intermediates(image, self.taps, return_prefix_tokens=True, **how)
        return [(patches, prefix[:, :1]) for patches, prefix in taps]


def _create(name: str, side: int) -> ViT:
    """timm's model by name, at our input size, weights as timm initialises them."""
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture) or (tag and name not in get_arch_pretrained_cfgs(architecture)):
        near = ", ".join(timm.list_models(f"*{architecture}*", pretrained=True)[:8])
        raise DavidError(
            f"model.backbone: timm {timm.__version__} has no {name!r}" + (f"; it has {near}" if near else "")
        )
    try:
        vit = timm.create_model(name, img_size=side)
    except TypeError:  # networks without position embeddings take no img_size
        vit = None
    needed = ("blocks", "patch_embed", "cls_token", "forward_intermediates", "prune_intermediate_layers")
    if vit is None or not all(hasattr(vit, part) for part in needed):
        raise DavidError(f"model.backbone: expected a plain ViT, {name} is not one")
    return vit


def _cut(vit: ViT, name: str, side: int, last: int) -> ViT:
    """Without what comes after the block `last`."""
    patch, blocks = vit.patch_embed.patch_size[0], len(vit.blocks)
    if side % patch:
        raise DavidError(
            f"model.backbone_size: expected a multiple of {name}'s patches of {patch} pixels, found {side}"
        )
    if last >= blocks:
        raise DavidError(f"model.taps: {name} has blocks 0 to {blocks - 1}, found {last}")
    vit.prune_intermediate_layers([last], prune_norm=True, prune_head=True)
    return vit
