"""How good relative disparity is, for each image: by a scale and a shift in disparity, then as depth in metres.

B images, H rows, W columns. A prediction grows with nearness and is known up to both; least squares over the valid
pixels carry it onto 1 / t, what comes of it is clipped and inverted, and measured as metric depth is (Ranftl et al.,
"Towards Robust Monocular Depth Estimation", TPAMI 2022, section 6; so do Depth Anything and its second version).
"""

import torch

from david.pipeline.batch import Batch, Target
from david.train.losses.alignment import fit
from david.train.losses.masked import wide
from david.train.losses.views import metres
from david.train.metrics.metric_depth import SPAN_M, metric_depth


def measure(output: torch.Tensor, target: Target, batch: Batch) -> dict[str, torch.Tensor]:
    true = metres(target, batch)
    carried = to_metres(output, true.value, true.valid)
    return {f"disparity_{name}": one for name, one in metric_depth(carried, true.value, true.valid).items()}


def to_metres(
    disparity: torch.Tensor, depth_m: torch.Tensor, valid: torch.Tensor, span_m: tuple[float, float] = SPAN_M
) -> torch.Tensor:
    """The depth (B, 1, H, W), within the span, that a disparity stands for once it is fitted to 1 / depth_m.

    The scale is not below 0, so that what grows with distance counts as flat."""
    true = wide(depth_m)
    there = valid & (true > 0) & true.isfinite()
    inverse = 1 / torch.where(there, true, 1)
    said = wide(disparity).nan_to_num(0, 0, 0)  # what is no finite number says nothing: as far as can be
    scale, shift = fit(said, inverse, there)
    least, most = span_m
    return 1 / (scale * said + shift).clamp(1 / most, 1 / least)
