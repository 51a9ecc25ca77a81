"""A network that tells its ViT's tokens too. B images, N patches, D channels of a token."""

import threading

import torch

from david.model.networks.network import Network
from david.model.prediction import Prediction
from david.train.tasks.task import Predict

TOKENS = "tokens"  # in what it says: (B, N, D), the patches' after the last block that it reads


def with_tokens(network: Network) -> Predict:
    """The network as a function whose prediction has `TOKENS`. It may be called from several threads at once."""
    kept = threading.local()

    def keep(module: torch.nn.Module, images: object, taps: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        kept.tokens = taps[-1][0]

    network.backbone.register_forward_hook(keep)

    def ask(image: torch.Tensor) -> Prediction:
        said = network(image)
        return {**said, TOKENS: kept.tokens}

    return ask


def count(network: Network, side: int) -> int:
    """N for a square image of `side` pixels."""
    return network.backbone.tokens(side, side) - network.backbone.vit.num_prefix_tokens
