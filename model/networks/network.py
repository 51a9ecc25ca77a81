"""What every network is to whoever trains it, measures it or keeps its weights.

B images, H rows, W columns.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from david.model.config import KINDS, configure
from david.model.configs.base import ModelConfig
from david.model.networks.backbone import Backbone
from david.model.prediction import Prediction
from david.pack.lazy import load


class Network(nn.Module):
    """Image to `Prediction`, any H and W; normalisation is inside.

    config: what it is made of; its kind says which class this is
    backbone: the pretrained part, so that its parameters are called `backbone.*`
    """

    config: ModelConfig
    backbone: Backbone

    def forward(self, image: torch.Tensor) -> Prediction:
        """image: (B, 3, H, W) sRGB, uint8 0 .. 255 or float 0 .. 1. The outputs are float32, also under autocast."""
        raise NotImplementedError


def build(which: str | ModelConfig, heads: Sequence[str] | None = None, **changes: Any) -> Network:
    """The network of a configuration, or of the one called so (see `config.MODELS`).

    heads: instead of the configuration's; changes: of its other fields, for one with a name. Weights are drawn from
    torch's global generator; `david.model.weights` loads pretrained ones.
    """
    if isinstance(which, str):
        which = configure(which, **changes, **({"heads": tuple(heads)} if heads is not None else {}))
    return load(KINDS[which.kind].network)(which)
