"""What a head's output becomes before it is compared.

A view takes (output, target, valid, times) and gives what it makes of the output, once for each of so many losses.
B images, C channels, H rows, W columns.
"""

from collections.abc import Sequence

import torch

from david.train.losses.alignment import align_for_each
from david.train.losses.masked import wide


def as_said(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, times: int) -> Sequence[torch.Tensor]:
    return [output] * times


def probability(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, times: int) -> Sequence[torch.Tensor]:
    """Of logits. Taken anew for each loss: it costs less than it would to keep the gradients' order of summation."""
    return [wide(output).sigmoid() for _ in range(times)]


def fitted(output: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, times: int) -> Sequence[torch.Tensor]:
    """Relative depth carried onto its target; one fit for all losses."""
    return align_for_each(output, target, valid, times)
