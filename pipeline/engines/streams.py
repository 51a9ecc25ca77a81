"""The few things of CUDA that copying batches to a GPU needs, each under one name: tests put others in their place."""

from typing import Any, Protocol

import numpy as np
import torch


class Streams(Protocol):
    """A device with streams of its own: what is queued on one runs in its order, beside the others'."""

    def pinned(self, size: int) -> np.ndarray:
        """(size,) uint8 of memory that the device reads by itself."""
        ...

    def stream(self) -> Any:
        """A new stream."""
        ...

    def current(self) -> Any:
        """The stream that this thread computes on."""
        ...

    def copy(self, host: torch.Tensor, stream: Any) -> torch.Tensor:
        """Queue a copy on a stream, whose memory it takes. It reads `host` until an event behind it is over."""
        ...

    def event(self, stream: Any) -> Any:
        """An event (`query`, `synchronize`) behind all that is queued on a stream."""
        ...

    def wait(self, stream: Any, event: Any) -> None:
        """Let what is queued on a stream from now on wait for an event, and the host not."""
        ...

    def used_on(self, tensor: torch.Tensor, stream: Any) -> None:
        """Tell the allocator that another stream uses the tensor, too: its memory is free once that has passed."""
        ...


class Cuda:
    """`Streams` of a GPU. device: with its index"""

    def __init__(self, device: torch.device):
        self.device = device

    def pinned(self, size: int) -> np.ndarray:
        with torch.cuda.device(self.device):  # else it begins a context on the first GPU, for every rank
            return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()

    def stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self.device)

    def current(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self.device)

    def copy(self, host: torch.Tensor, stream: torch.cuda.Stream) -> torch.Tensor:
        with torch.cuda.stream(stream):
            return host.to(self.device, non_blocking=True)

    def event(self, stream: torch.cuda.Stream) -> torch.cuda.Event:
        event = torch.cuda.Event()
        event.record(stream)
        return event

    def wait(self, stream: torch.cuda.Stream, event: torch.cuda.Event) -> None:
        stream.wait_event(event)

    def used_on(self, tensor: torch.Tensor, stream: torch.cuda.Stream) -> None:
        tensor.record_stream(stream)
