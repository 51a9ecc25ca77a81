"""What a head's output becomes before it is compared.

A view takes (output, target, valid) and gives what it makes of the output, once for all losses that ask for it.
B images, C channels, H rows, W columns.
"""

import torch

from david.train.losses.alignment import LEAST_CORRELATION, align
from david.train.losses.masked import wide


def as_said(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return wide(output)


def probability(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Of logits."""
    return wide(output).sigmoid()


def fitted(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Relative depth carried onto its target."""
    return align(output, target, valid, LEAST_CORRELATION)
