"""Relative depth."""

import torch

from david.model.heads.dense import DenseHead


class RelativeDepth(DenseHead):
    """Depth up to a positive scale and a shift for each image, growing with distance. Linear: any real number;
    softplus: above 0.

    The last 1x1 runs in float32 under autocast too. bfloat16 has 8 bits: near 1 it steps by 0.004 to 0.008, which is
    as much as depth changes from a pixel to the next on a face, and the gradient losses look at just that.
    """

    wide = ("refine", "last")

    def say(self, x: torch.Tensor) -> torch.Tensor:
        full = self.last.weight.dtype
        if x.dtype == full:  # no autocast
            return self.end(self.last(x))
        with torch.autocast(x.device.type, enabled=False):
            return self.end(self.last(x.to(full)))
