"""Soft foreground."""

import torch

from david.model.heads.dense import DenseHead


class AlphaLogits(DenseHead):
    """Logits of the soft foreground: their sigmoid is alpha. Losses on logits keep their precision near 0 and 1."""

    def say(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.last(x))
