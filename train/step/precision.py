"""What the network computes in: float32, or a half precision under autocast. Losses and metrics are float32 always."""

from contextlib import AbstractContextManager

import torch

from david.pack.errors import DavidError

HALVES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def half_precision(precision: str, device: torch.device) -> torch.dtype | None:
    """What a recipe's `precision` means on a device; None for float32.

    `auto` is bf16 on GPUs that have it, else float32. Raises DavidError for bf16 on a GPU that has it not."""
    able = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" and not able:
        raise DavidError(f"precision is bf16, which {torch.cuda.get_device_name(device)} has not; take fp16")
    if precision == "auto":
        return torch.bfloat16 if device.type == "cuda" and able else None
    return HALVES[precision]


def computing_in(half: torch.dtype | None, device: torch.device) -> AbstractContextManager:
    """Meanwhile the network computes in `half`, or in float32 where that is None, whatever was asked for around it."""
    return torch.autocast(device.type, half, enabled=half is not None)


def name_of(half: torch.dtype | None) -> str:
    """As recipes name it: fp32, bf16 or fp16."""
    return next(name for name, dtype in HALVES.items() if dtype == half)
