"""The factor on the loss that keeps half-precision gradients inside float16's range.

Micikevicius et al., "Mixed Precision Training", ICLR 2018, section 3.2; grown and halved as by torch.amp.GradScaler.
It decides from the norm of the summed gradient, which all ranks share, so it is the same on all ranks without a word
between them, and it lives on the device, so that nobody waits to learn it.
"""

from collections.abc import Iterable

import torch

BEGIN = 2.0**16
GROW_AFTER = 2000  # finite steps in a row


class LossScale:
    """scale: () float32, a power of two; good: () int64, finite steps since it last changed."""

    def __init__(self, device: torch.device):
        self.scale = torch.tensor(BEGIN, device=device)
        self.good = torch.zeros((), dtype=torch.int64, device=device)

    def unscale(self, gradients: Iterable[torch.Tensor]) -> None:
        """Divide the gradients of a scaled loss, in place. Exact: a power of two."""
        torch._foreach_mul_(list(gradients), 1 / self.scale)

    def update(self, finite: torch.Tensor) -> None:
        """Halve after a step whose gradient was not finite; double after enough that were. finite: () bool."""
        good = torch.where(finite, self.good + 1, 0)
        grown = good >= GROW_AFTER
        self.scale.copy_(torch.where(finite, torch.where(grown, self.scale * 2, self.scale), self.scale / 2))
        self.good.copy_(torch.where(grown, 0, good))
