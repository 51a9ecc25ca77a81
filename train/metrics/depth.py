"""How good relative depth is, for each image, after a scale and shift fit on its valid pixels (Ranftl et al., TPAMI
2022); its share within 1.25 as Eigen et al. (NeurIPS 2014).

B images, H rows, W columns.
"""

import torch

from david.pipeline.batch import Batch, Target
from david.train.losses.alignment import align
from david.train.losses.masked import mean, wide
from david.train.metrics.masked import where_any
from david.train.metrics.table import WITHIN_RATIO


def measure(output: torch.Tensor, target: Target, batch: Batch) -> dict[str, torch.Tensor]:
    scale, offset = (100 * x.view(-1, 1, 1, 1) for x in (batch.depth_scale_m, batch.depth_offset_m))
    return depth(output, target.value.float() * scale + offset, target.valid)


def depth(prediction: torch.Tensor, depth_cm: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
    """AbsRel, RMSE in cm and the share of pixels within a ratio of 1.25, after the fit. (B, 1, H, W) each."""
    aligned, target = align(prediction, depth_cm, valid), wide(depth_cm)
    error, near = aligned - target, target.clamp(min=1e-6)
    within = (aligned < WITHIN_RATIO * near) & (aligned * WITHIN_RATIO > near)
    found = {
        "depth_abs_rel": mean(error.abs() / near, valid),
        "depth_rmse_cm": mean(error * error, valid).sqrt(),
        f"depth_within_{WITHIN_RATIO:g}": mean(within.float(), valid),
    }
    return where_any(found, valid)
