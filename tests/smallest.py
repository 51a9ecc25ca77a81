"""The smallest network and pictures that a run of the tests trains with."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from david.model import Network

BACKBONE, SIDE, WIDTH, HEAD_WIDTHS, REASSEMBLE = "test_vit.r160_in1k", 32, 16, (8, 8), (8, 8, 8, 8)
SMALLEST = (
    *("data.height=48", "data.width=32", f"model.backbone={BACKBONE}", f"model.backbone_size={SIDE}"),
    *(f"model.width={WIDTH}", "model.head_widths=8,8", "model.reassemble=8,8,8,8"),
)


def network(heads: tuple[str, ...] = ("depth", "normals", "alpha"), seed: int = 0) -> "Network":
    """The smallest network by itself, with weights drawn from `seed`."""
    import torch

    from david.model import build

    sizes = {"backbone_size": SIDE, "width": WIDTH, "head_widths": HEAD_WIDTHS, "reassemble": REASSEMBLE}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("david-smoke", heads=heads, backbone=BACKBONE, **sizes).eval()
