"""DINOv2 as Depth Anything V2 reads it: any size in patches of 14 pixels, four blocks' tokens through the final norm.

B images, H rows, W columns; h x w patches, D channels of a token.
"""

from typing import Any

import timm
import torch
from timm.models import checkpoint
from torch import nn

from david.model.configs.depth_anything import PATCH, Dinov2Config
from david.model.networks.backbone import Backbone, ViT

MORE = 0.1  # of a patch, that DINOv2's code adds to each side of the grid before it divides
CUBIC = -0.75  # the coefficient of torch's bicubic resize (Keys, IEEE ASSP 1981, whose own is -0.5)


class Dinov2(Backbone):
    """timm's DINOv2 with the position embeddings resampled as DINOv2's own code does it, on whose features Depth
    Anything V2's heads were trained: timm's own way moves depth by a third at any size but the embeddings'.

    The mask token is held because every published file has one; nothing reads it."""

    def __init__(self, config: Dinov2Config):
        nn.Module.__init__(self)
        own = {"embed_dim": config.width, "depth": config.blocks, "num_heads": config.attention_heads}
        sizes: dict[str, Any] = {name: value for name, value in own.items() if value is not None}
        sizes |= {"img_size": config.backbone_size, "num_classes": 0, "dynamic_img_size": True}
        self.vit: ViT = timm.create_model(config.backbone, **sizes)
        self.vit.prune_intermediate_layers([config.taps[-1]], prune_norm=False, prune_head=True)
        self.taps = list(config.taps)
        self.size = (config.backbone_size, config.backbone_size)
        self.channels: int = self.vit.embed_dim
        self.grid: tuple[int, int] = self.vit.patch_embed.grid_size
        self.mean: tuple[float, ...] = self.vit.pretrained_cfg["mean"]
        self.std: tuple[float, ...] = self.vit.pretrained_cfg["std"]
        self.mask_token = nn.Parameter(torch.zeros(1, self.channels), requires_grad=False)

    def tokens(self, height: int | None, width: int | None) -> int:
        if height is None or width is None:
            return super().tokens(height, width)
        rows, columns = (side // PATCH for side in in_patches((height, width)))
        return rows * columns + self.vit.num_prefix_tokens

    def forward(self, image: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(B, 3, H, W) normalised image, H and W multiples of 14, to pairs, one a tap, of patch tokens (B, h * w, D)
        and class token (B, 1, D), after the final norm."""
        vit = self.vit
        x = vit.patch_embed(image)  # (B, h, w, D)
        positions = self.positions((x.shape[1], x.shape[2])).to(x.dtype)
        x = torch.cat([vit.cls_token.expand(x.shape[0], -1, -1).to(x.dtype), x.flatten(1, 2)], dim=1) + positions
        taps = []
        for number, block in enumerate(vit.blocks):
            x = checkpoint(block, x) if vit.grad_checkpointing else block(x)
            if number in self.taps:
                normed = vit.norm(x)
                taps.append((normed[:, 1:], normed[:, :1]))
        return taps

    def positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """(1, 1 + h * w, D) float32 for a grid of h x w patches.

        Bicubic, not antialiased, by the factors (h + 0.1) / 37 and (w + 0.1) / 37, which enter the coordinates: by the
        sizes alone it would be another resampling. As two products with matrices: their gradients are the same bits
        each time on a GPU, and ONNX has no other idea of them."""
        if grid == self.grid:
            return self.vit.pos_embed
        with torch.autocast(self.vit.pos_embed.device.type, enabled=False):
            cls, own = self.vit.pos_embed[:, :1], self.vit.pos_embed[0, 1:].unflatten(0, self.grid)  # (37, 37, D)
            down, across = (cubics(have, want, own) for have, want in zip(self.grid, grid, strict=True))
            there = torch.einsum("yh,hwd->ywd", down, own)
            there = torch.einsum("xw,ywd->yxd", across, there)
            return torch.cat([cls, there.flatten(0, 1)[None]], dim=1)


def cubics(have: int, want: int, like: torch.Tensor) -> torch.Tensor:
    """(want, have): the share that each place there takes of each one here, by bicubic convolution on four neighbours,
    the border repeated; places lie (have / (want + 0.1)) apart."""
    step = have / (want + MORE)
    places = (torch.arange(want, device=like.device, dtype=like.dtype) + 0.5) * step - 0.5
    first, columns = places.floor(), torch.arange(have, device=like.device)
    shares = torch.zeros(want, have, device=like.device, dtype=like.dtype)
    for neighbour in range(-1, 3):
        away = (places - first - neighbour).abs()
        near = ((CUBIC + 2) * away - (CUBIC + 3)) * away * away + 1
        far = CUBIC * (((away - 5) * away + 8) * away - 4)
        column = (first.long() + neighbour).clamp(0, have - 1)
        shares = shares + torch.where(away <= 1, near, far)[:, None] * (column[:, None] == columns)
    return shares


def in_patches(size: torch.Size | tuple[int, int]) -> tuple[int, int]:
    """The nearest height and width that are whole patches, one at least."""
    height, width = (max(PATCH, (side + PATCH // 2) // PATCH * PATCH) for side in size)
    return height, width
