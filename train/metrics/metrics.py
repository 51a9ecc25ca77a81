"""The metrics of depth, normals and foreground, for each image; NaN where an image has nothing to measure on.

B images, H rows, W columns. As the papers report them: depth after a scale and shift fit on the foreground (Ranftl et
al., TPAMI 2022), its share within 1.25 as Eigen et al. (NeurIPS 2014), normals as angles on the foreground (Fouhey et
al., "Data-Driven 3D Primitives", ICCV 2013), alpha as in matting (Rhemann et al., CVPR 2009) and as a mask.
"""

import torch
import torch.nn.functional as F

from david.model.prediction import Prediction
from david.pipeline.batch import Batch
from david.train.losses.alignment import align
from david.train.losses.masked import mean, wide
from david.train.metrics.metric import WITHIN_DEGREES, WITHIN_RATIO

UNKNOWN_SHARE = 0.02  # of the image's height: how far the trimap's unknown band reaches beyond soft pixels


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
    return _where_measured(found, valid)


def angles_deg(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The angle between directions (B, 3, H, W): (B, 1, H, W) in degrees."""
    p, n = F.normalize(wide(prediction), dim=1), F.normalize(wide(target), dim=1)
    # atan2 is exact at small angles, where the arc cosine loses all its digits
    sine, cosine = torch.linalg.cross(p, n, dim=1).norm(dim=1, keepdim=True), (p * n).sum(1, keepdim=True)
    return torch.rad2deg(torch.atan2(sine, cosine))


def normals(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean and median angle in degrees, and the share of pixels within some. (B, 3, H, W) directions, (B, 1, H, W)."""
    angle = angles_deg(prediction, target)
    found = {
        "normals_mean_deg": mean(angle, valid),
        "normals_median_deg": torch.where(valid, angle, torch.nan).flatten(1).nanmedian(1).values,
    }
    for degrees in WITHIN_DEGREES:
        found[f"normals_within_{degrees:g}"] = mean((angle < degrees).float(), valid)
    return _where_measured(found, valid)


def alpha(prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean absolute and squared error; SAD in thousands of pixels, of all and of the trimap's unknown band; IoU at one
    half. (B, 1, H, W) in [0, 1]."""
    error = (wide(prediction) - wide(target)).flatten(1)
    p, a = (prediction >= 0.5).flatten(1), (target >= 0.5).flatten(1)
    union = (p | a).sum(1)
    return {
        "alpha_mae": error.abs().mean(1),
        "alpha_mse": (error * error).mean(1),
        "alpha_sad": error.abs().sum(1) / 1000,
        "alpha_sad_unknown": torch.where(unknown(target).flatten(1), error.abs(), 0).sum(1) / 1000,
        "alpha_iou": torch.where(union > 0, (p & a).sum(1) / union, 1.0),
    }


def unknown(target: torch.Tensor) -> torch.Tensor:
    """The unknown band of the trimap of alpha (B, 1, H, W): bool, of the same shape.

    Certain foreground is what is wholly foreground as far as `UNKNOWN_SHARE` around, certain background likewise; the
    rest is unknown.
    """
    reach = max(1, round(UNKNOWN_SHARE * target.shape[-2]))
    target, side = wide(target), 2 * reach + 1
    most = F.max_pool2d(target, side, stride=1, padding=reach)
    least = -F.max_pool2d(-target, side, stride=1, padding=reach)
    return (most > 0) & (least < 1)


def metrics(prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
    """Every metric of the heads that the prediction has, name to (B,) float32."""
    found: dict[str, torch.Tensor] = {}
    if "relative_depth" in prediction:
        target = batch.targets["depth"]
        scale, offset = (100 * x.view(-1, 1, 1, 1) for x in (batch.depth_scale_m, batch.depth_offset_m))
        found |= depth(prediction["relative_depth"], target.value.float() * scale + offset, target.valid)
    if "normals" in prediction:
        found |= normals(prediction["normals"], batch.targets["normals"].value, batch.targets["normals"].valid)
    if "alpha_logits" in prediction:
        found |= alpha(prediction["alpha_logits"].float().sigmoid(), batch.targets["alpha"].value / 255)
    return found


def _where_measured(found: dict[str, torch.Tensor], valid: torch.Tensor) -> dict[str, torch.Tensor]:
    measured = valid.flatten(1).any(1)
    return {name: torch.where(measured, value, torch.nan) for name, value in found.items()}
