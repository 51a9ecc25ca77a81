"""How deep each parameter lies: for learning rates that fall towards the input (ELECTRA, BEiT, MAE).

Names that begin with `backbone.` are the pretrained part; all others begin from noise.
"""

from typing import Any

from timm.models import group_parameters
from torch import nn

from david.model.networks.network import Network

BACKBONE = "backbone.vit."


def layer_ids(network: nn.Module) -> dict[str, int]:
    """Layer of each parameter by name: 0 the ViT's embeddings, 1 + i its block i, and one more for all that is new."""
    assert isinstance(network, Network)  # others have no layers that we could tell
    vit = network.backbone.vit
    within: Any = group_parameters(vit, vit.group_matcher(coarse=False), reverse=True)
    new = len(vit.blocks) + 1
    return {name: within.get(name.removeprefix(BACKBONE), new) for name, _ in network.named_parameters()}
