"""How good normals are, for each image: angles on its valid pixels (Fouhey et al., "Data-Driven 3D Primitives", ICCV
2013).

B images, H rows, W columns.
"""

import torch
import torch.nn.functional as F

from david.pipeline.batch import Batch, Target
from david.train.losses.masked import mean, wide
from david.train.metrics.masked import where_any
from david.train.metrics.table import WITHIN_DEGREES


def measure(output: torch.Tensor, target: Target, batch: Batch) -> dict[str, torch.Tensor]:
    return normals(output, target.value, target.valid)


def normals(prediction: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean and median angle in degrees, and the share of pixels within some. (B, 3, H, W) directions, (B, 1, H, W)."""
    return of_angles(angles_deg(prediction, target), valid)


def of_angles(angle: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
    """As `normals`, of angles in degrees, (B, 1, H, W)."""
    found = {
        "normals_mean_deg": mean(angle, valid),
        "normals_median_deg": torch.where(valid, angle, torch.nan).flatten(1).nanmedian(1).values,
    }
    for degrees in WITHIN_DEGREES:
        found[f"normals_within_{degrees:g}"] = mean((angle < degrees).float(), valid)
    return where_any(found, valid)


def angles_deg(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The angle between directions (B, 3, H, W): (B, 1, H, W) in degrees."""
    p, n = F.normalize(wide(prediction), dim=1), F.normalize(wide(target), dim=1)
    # atan2 is exact at small angles, where the arc cosine loses all its digits
    sine, cosine = torch.linalg.cross(p, n, dim=1).norm(dim=1, keepdim=True), (p * n).sum(1, keepdim=True)
    return torch.rad2deg(torch.atan2(sine, cosine))
