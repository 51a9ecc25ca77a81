"""What a device has to say, on its way to the host: one copy, for which nobody waits before it is read."""

from collections.abc import Sequence

import torch

from david.pipeline import trace


class Post:
    """tensors: of one device, of numbers that float64 holds exactly: float32, and integers below 2^53"""

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self._as = [(tensor.shape, tensor.dtype) for tensor in tensors]
        packed = torch.cat([tensor.detach().flatten().double() for tensor in tensors])
        self._arrived: torch.cuda.Event | None = None
        if packed.device.type == "cuda":
            self._packed = torch.empty_like(packed, device="cpu", pin_memory=True).copy_(packed, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._packed = packed

    @staticmethod
    def is_late(device: torch.device) -> bool:
        """Whether what is sent from there takes its time, so that there is something else to do before it is read."""
        return device.type == "cuda"

    def read(self) -> list[torch.Tensor]:
        """The same tensors on the host; waits until they are there."""
        if self._arrived:
            with trace.span("synchronise"):
                self._arrived.synchronize()
        parts = self._packed.split([shape.numel() for shape, _ in self._as])
        return [part.view(shape).to(dtype) for part, (shape, dtype) in zip(parts, self._as, strict=True)]
