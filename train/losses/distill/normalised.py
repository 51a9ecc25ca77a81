"""Depth without its scale and its shift, and how far two are apart then.

    n(x)_i = (x_i - m) / a      m = median(x), a = 1/M sum_i |x_i - m|      over the M valid pixels
    1/M sum_i |n(s)_i - n(t)_i|

Ranftl et al., "Towards Robust Monocular Depth Estimation", TPAMI 2022, eq. 5; the global normalisation of He et al.,
"Distill Any Depth", 2025 (arXiv 2502.19204), section 3. Of an even number the lower of the two medians is taken, as
torch does.

B images, K sets of pixels, N pixels of an image.
"""

import torch

from david.train.losses.l1 import l1
from david.train.losses.masked import wide, within

LEAST = 1e-6  # mean distance from the median that is divided by, in the depth's own unit


def globally(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction, target: (B, 1, H, W) depth of any scale and shift; valid: (B, 1, H, W) bool. Returns (B,), in mean
    distances from the median."""
    return l1(normalised(prediction, valid), normalised(target, valid), valid)


def normalised(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) to the same, float32 or better, 0 where invalid."""
    middle, spread = middle_and_spread(values, valid)
    x = within(wide(values), valid)
    return within((x - middle.view(-1, 1, 1, 1)) / spread.clamp(min=LEAST).view(-1, 1, 1, 1), valid)


def middle_and_spread(values: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Median and mean distance from it over the valid pixels, (B,) each; 0 where there is none."""
    members = valid.flatten(1).unsqueeze(1)
    x = within(wide(values), valid).flatten(1)
    middle = medians(x, members)
    away = torch.where(members, (x.unsqueeze(1) - middle.unsqueeze(2)).abs(), 0).sum(2)
    number = members.sum(2)
    spread = away / number.clamp(min=1)
    return torch.where(number > 0, middle, 0).squeeze(1), spread.squeeze(1)


def medians(values: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    """The median of each of K sets of pixels. values: (B, N) finite; members: (B, K, N) bool. Returns (B, K); of a set
    without members any of the values. Differentiable: a median's gradient is that of the pixel that it is."""
    order = values.detach().argsort(dim=1, stable=True)
    seen = members.gather(2, order.unsqueeze(1).expand_as(members)).cumsum(2, dtype=torch.int32)
    middle = ((seen[..., -1:] + 1) // 2).clamp(min=1)
    place = torch.searchsorted(seen, middle).squeeze(2).clamp(max=values.shape[1] - 1)
    return values.gather(1, order.gather(1, place))
