"""How much memory this process has held at most."""

import resource
import sys

import torch


def peak_gb() -> dict[str, float]:
    """`memory_gb` of the host and, where a GPU is in use, `gpu_memory_gb` of tensors on it. Asks nothing of a GPU."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    found = {"memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 3)}
    if torch.cuda.is_initialized():
        found["gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return found
