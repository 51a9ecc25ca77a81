"""What tests do with batches: other targets in one, and all of it as bytes."""

from dataclasses import replace

import torch

from david.pipeline.batch import Batch, Target


def retarget(batch: Batch, name: str, value: torch.Tensor | None = None, valid: torch.Tensor | None = None) -> Batch:
    """The batch with another value of a target, another mask, or both."""
    old = batch.targets[name]
    target = Target(old.value if value is None else value, old.valid if valid is None else valid)
    return replace(batch, targets=batch.targets | {name: target})


def bits(batch: Batch) -> dict[str, bytes]:
    return {name: one.contiguous().numpy().tobytes() for name, one in batch.tensors().items()}
