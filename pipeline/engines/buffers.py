"""Memory for finished batches, lent for as long as anyone looks at it.

A fresh batch costs more in page faults than in copying, so memory is used again; but only once the last tensor that
views it is gone, so that a batch never changes under whoever keeps it.
"""

import weakref
from collections.abc import Callable
from math import prod

import numpy as np
import torch

ALIGNMENT = 64  # bytes; a cache line, and what vector loads like
Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]  # name -> (shape, dtype) of each field


def pageable(size: int) -> np.ndarray:
    """Ordinary memory: so many bytes."""
    return np.empty(size, np.uint8)


class Arena:
    """Lends blocks of memory that hold one batch's fields each.

    fields: what a batch has; memory: gives fresh memory of so many bytes"""

    def __init__(self, fields: Shapes, memory: Callable[[int], np.ndarray] = pageable):
        self._memory = memory
        self._places, end = {}, 0
        for name, (shape, dtype) in fields.items():
            size = prod(shape) * dtype.itemsize
            self._places[name] = (end, end + size, shape, dtype)
            end += -(-size // ALIGNMENT) * ALIGNMENT
        self._bytes = end
        self._free: list[np.ndarray] = []

    def lend(self) -> dict[str, torch.Tensor]:
        """Tensors of all fields, with whatever bytes their memory holds; it comes back when the last view is gone."""
        return self.views(self.block())

    def block(self) -> torch.Tensor:
        """The memory of one batch as it is, (bytes,) uint8, for `views`; it too comes back with the last view."""
        memory = self._free.pop() if self._free else self._memory(self._bytes + ALIGNMENT)
        skipped = -memory.ctypes.data % ALIGNMENT
        lease = memory[skipped : skipped + self._bytes]  # torch keeps this view alive for as long as any of its own
        weakref.finalize(lease, self._free.append, memory).atexit = False
        return torch.from_numpy(lease)

    def views(self, block: torch.Tensor) -> dict[str, torch.Tensor]:
        """Tensors of all fields in a block, or in a copy of one on any device."""
        return {
            name: block[start:end].view(dtype).view(shape) for name, (start, end, shape, dtype) in self._places.items()
        }
