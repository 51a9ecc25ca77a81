"""Which of two points is the nearer: a loss on pairs that people told, where nobody knows a depth.

    1/N sum_n log(1 + exp(q_n - p_n))      p_n, q_n: what is predicted at the nearer point and at the other

of what grows with nearness. Chen et al., "Single-Image Depth Perception in the Wild", NeurIPS 2016, eq. 2, for pairs
that are not equal; so too Xian et al., "Structure-Guided Ranking Loss for Single Image Depth Prediction", CVPR 2020,
eq. 2.

B images, P pairs.
"""

import torch
import torch.nn.functional as F

from david.train.losses.masked import wide, within


def ranking(prediction: torch.Tensor, pairs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """prediction: (B, 1, H, W), growing with nearness; pairs: (B, P, 2, 2), column and row of the nearer point and of
    the other, the image's corner at 0; valid: (B, P) bool, the pairs that count. Returns (B,)."""
    said = at_points(wide(prediction), pairs)
    loss = F.softplus(said[..., 1] - said[..., 0])
    return within(loss, valid).sum(1) / valid.sum(1).clamp(min=1)


def at_points(values: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """(B, 1, H, W) at the pixels that hold the points: (B, P, 2); of points that are not there any value."""
    (height, width), points = values.shape[-2:], pairs.nan_to_num(0).long()
    place = points[..., 1].clamp(0, height - 1) * width + points[..., 0].clamp(0, width - 1)
    return values.flatten(1).gather(1, place.flatten(1)).view(place.shape)
