"""How good soft foreground is, for each image: as in matting (Rhemann et al., CVPR 2009) and as a mask.

B images, H rows, W columns.
"""

import torch
import torch.nn.functional as F

from david.pipeline.batch import Batch, Target
from david.train.losses.masked import mean, total, wide
from david.train.metrics.masked import where_any

UNKNOWN_SHARE = 0.02  # of the image's height: how far the trimap's unknown band reaches beyond soft pixels


def measure(output: torch.Tensor, target: Target, batch: Batch) -> dict[str, torch.Tensor]:
    return alpha(output.float().sigmoid(), target.value / 255, target.valid)


def alpha(
    prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, band: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """Mean absolute and squared error; SAD in thousands of pixels, of all and of the trimap's unknown band; IoU at one
    half. (B, 1, H, W) in [0, 1], and bool; band: the unknown band, bool, by default `unknown(target)`."""
    band = unknown(target) if band is None else band
    error = wide(prediction) - wide(target)
    p, a = prediction >= 0.5, target >= 0.5
    union = total((p | a).float(), valid)
    found = {
        "alpha_mae": mean(error.abs(), valid),
        "alpha_mse": mean(error * error, valid),
        "alpha_sad": total(error.abs(), valid) / 1000,
        "alpha_sad_unknown": total(torch.where(band, error.abs(), 0), valid) / 1000,
        "alpha_iou": torch.where(union > 0, total((p & a).float(), valid) / union, 1.0),
    }
    return where_any(found, valid)


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
