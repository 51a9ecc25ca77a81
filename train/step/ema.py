"""A moving average of the weights, which is measured, pictured and kept in place of the weights themselves.

    a <- d a + (1 - d) w after step n      d = min(decay, (1 + n) / (10 + n)), or decay alone without warm-up

Polyak and Juditsky, 1992, in the exponential form that TensorFlow's ExponentialMovingAverage and timm's ModelEmaV3
have. d depends on the step alone, so a resumed run's average is the same to the bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

Tensors = dict[str, torch.Tensor]


class Ema:
    """The average of the parameters that learn, float32 as they are; it begins with their values."""

    def __init__(self, network: nn.Module, decay: float, warm_up: bool):
        self.decay, self.warm_up = decay, warm_up
        self.parameters = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
        self.values = {name: p.clone() for name, p in self.parameters.items()}

    def decay_at(self, step: int) -> float:
        return min(self.decay, (1 + step) / (10 + step)) if self.warm_up else self.decay

    def update(self, step: int) -> None:
        """Take in the weights that step number `step` (1 is the first) left."""
        torch._foreach_lerp_(list(self.values.values()), list(self.parameters.values()), 1 - self.decay_at(step))

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Meanwhile the network has the average as its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, value in self.values.items():
            kept = value.clone()
            value.copy_(self.parameters[name])
            self.parameters[name].copy_(kept)
