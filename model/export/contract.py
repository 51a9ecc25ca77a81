"""A network as the module that a file of the official contract is made of, and that module as a graph.

B images, S the side of the square in pixels.
"""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from david.model.export.tasks import TASKS, Task
from david.model.heads.table import HEADS
from david.model.networks.network import Network
from david.model.predict.engine import finished

INPUT = "image"
NAMES = {  # of the outputs, by head
    **{"depth": "depth", "normals": "normals", "alpha": "foreground"},
    **{"metric_depth": "metric_depth", "disparity": "disparity"},
}
FLAT = ("depth", "metric_depth", "disparity")  # outputs without a channel of their own
CONVENTIONS = (
    "Input: float32 (B, 3, S, S), BGR in 0 .. 1; normalisation is inside. Outputs in this order, float32: of a "
    "multi-task file depth (B, S, S), normals (B, 3, S, S) as unit X right, Y up, Z towards the camera, foreground "
    "(B, 1, S, S) in 0 .. 1; a single-task file has one of these. Depth is known up to a positive scale and a shift; "
    "in a multi-task file it grows with distance, in a single-task file with nearness. Images are padded to a square "
    "with their own border (half on each side, an odd pixel at the end), halved while over 1536 pixels, resized "
    "bilinearly; outputs go back by cubics, are cut to the image, and normals are brought to unit length."
)
_INPUT = "Input: float32 (B, 3, S, S), BGR in 0 .. 1; normalisation is inside. Output, float32 (B, S, S): "
TOLD: dict[str, str] = {  # of files with these tasks instead
    "metric_depth": _INPUT + "metres along the optical axis, growing with distance.",
    "disparity": _INPUT + "1 / depth up to a positive scale and a shift for each image, at least 0, growing with "
    "nearness.",
}
UNITS = {"metric_depth": "metres", "disparity": "disparity, of no unit"}


class Contract(nn.Module):
    """BGR in 0 .. 1 to the outputs of a task, by order."""

    def __init__(self, network: Network, task: Task):
        super().__init__()
        self.network, self.heads = network, TASKS[task]
        self.nearness = task == "depth"  # the official single-task file's sign

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """image: (B, 3, S, S) float32."""
        prediction = self.network(image.flip(1))
        said = [finished(HEADS[name], prediction[HEADS[name].output]) for name in self.heads]
        flat = self.heads[0] in FLAT
        first = [-said[0][:, 0] if self.nearness else said[0][:, 0]] if flat else said[:1]
        return (*first, *said[1:])


def traced(network: Network, task: Task, side: int) -> ExportedProgram:
    """The graph of `Contract` for any number of images of one size."""
    example = torch.zeros(2, 3, side, side, device=next(network.parameters()).device)  # one would be a constant
    module = Contract(network, task).eval()
    return torch.export.export(module, (example,), dynamic_shapes={INPUT: {0: Dim("batch")}})
