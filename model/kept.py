"""Constants that are made once, and not in each step, where each would be a kernel or several."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch


def kept(make: Callable[..., torch.Tensor], *given: int, like: torch.Tensor) -> torch.Tensor:
    """`make(*given, device=, dtype=)` on the device of `like` and in its precision; nobody may write into it. Graphs of
    torch.compile and exports make their own."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return make(*given, device=like.device, dtype=like.dtype)
    return _made(make, given, like.device, like.dtype, getattr(like, "fake_mode", None))


@lru_cache(maxsize=256)
def _made(
    make: Callable[..., torch.Tensor], given: tuple[int, ...], device: torch.device, dtype: torch.dtype, among: Any
) -> torch.Tensor:
    """among: the fake tensors that it is one of, as `bench/fake_gpu.py` has them; none of them goes with others"""
    with torch.inference_mode(False), torch.no_grad():  # one of inference could not train
        return make(*given, device=device, dtype=dtype)


def zero(like: torch.Tensor) -> torch.Tensor:
    """()"""
    return kept(_zero, like=like)


def _zero(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros((), device=device, dtype=dtype)
