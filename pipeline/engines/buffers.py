"""Memory for finished batches, lent for as long as anyone looks at it.

A fresh batch costs more in page faults than in copying, so memory is used again; but only once the last tensor that
views it is gone, so that a batch never changes under whoever keeps it.
"""

import weakref
from math import prod

import numpy as np
import torch

ALIGNMENT = 64  # bytes; a cache line, and what vector loads like


class Arena:
    """Lends blocks of memory that hold one batch's fields each.

    fields: name -> (shape, dtype) of each field"""

    def __init__(self, fields: dict[str, tuple[tuple[int, ...], torch.dtype]]):
        self._places, end = {}, 0
        for name, (shape, dtype) in fields.items():
            size = prod(shape) * dtype.itemsize
            self._places[name] = (end, end + size, shape, dtype)
            end += -(-size // ALIGNMENT) * ALIGNMENT
        self._bytes = end
        self._free: list[np.ndarray] = []

    def lend(self) -> dict[str, torch.Tensor]:
        """Tensors of all fields, with whatever bytes their memory holds; it comes back when the last view is gone."""
        memory = self._free.pop() if self._free else np.empty(self._bytes + ALIGNMENT, np.uint8)
        skipped = -memory.ctypes.data % ALIGNMENT
        lease = memory[skipped : skipped + self._bytes]  # torch keeps this view alive for as long as any of its own
        weakref.finalize(lease, self._free.append, memory).atexit = False
        flat = torch.from_numpy(lease)
        return {
            name: flat[start:end].view(dtype).view(shape) for name, (start, end, shape, dtype) in self._places.items()
        }
