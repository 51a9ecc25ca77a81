"""What computes a predictor's answer: our own network here, an ONNX file in `onnx_file.py`.

B images, H rows, W columns: of what the network sees. C channels.
"""

from collections.abc import Mapping
from importlib.metadata import version

import numpy as np
import torch

from david.model.heads.table import HEADS, Head
from david.model.networks.network import Network
from david.pack.lazy import load


class Engine:
    """A network as a function of arrays.

    fields: what it says, by name (see `fields.py`); side: of the square that it sees, None where any size will do
    batch: how many images it takes at once, None for any number; precision: that it computes in; on_gpu: where
    kind: of network, or of file; versions: of the libraries that compute; threads: of one call, where their number may
    change its last bits, on a CPU"""

    fields: tuple[str, ...]
    side: int | None = None
    batch: int | None = None
    precision: str = "float32"
    on_gpu: bool = False
    kind: str = ""
    versions: Mapping[str, str] = {}
    threads: int | None = None

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """images: (B, H, W, 3) RGB, uint8 or float32 0 .. 1. Gives (B, C, H, W) float32 by name."""
        raise NotImplementedError


class TorchEngine(Engine):
    """A network of ours on a device, computing in `half`, or in float32 where that is None."""

    def __init__(self, network: Network, device: torch.device | str = "cpu", half: torch.dtype | None = None):
        self.network = network.to(device).eval()
        self.device, self.half = torch.device(device), half
        self.precision, self.on_gpu = str(half or torch.float32).removeprefix("torch."), self.device.type == "cuda"
        self.threads = None if self.on_gpu else torch.get_num_threads()
        self.kind = network.config.kind
        self.versions = {"torch": str(torch.__version__), "timm": version("timm")}
        self.heads = [HEADS[name] for name in network.config.heads]
        self.fields = tuple(head.says for head in self.heads)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        seen = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous()
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            prediction = self.network(seen)
        return {head.says: finished(head, prediction[head.output]).cpu().numpy() for head in self.heads}


def finished(head: Head, output: torch.Tensor) -> torch.Tensor:
    """What a head said as the field that it stands for, float32."""
    return load(head.finish)(output.float()) if head.finish else output.float()
