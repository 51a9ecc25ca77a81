"""How good depth in metres is, for each image and without any fit: the figures of Eigen et al., "Depth Map Prediction
from a Single Image using a Multi-Scale Deep Network", NeurIPS 2014, and those that came beside them.

B images, H rows, W columns; p predicted and t true metres of an image's M valid pixels, e = log p - log t.

    a1, a2, a3   the share with max(p / t, t / p) < 1.25, 1.25^2, 1.25^3
    abs_rel      mean |p - t| / t             sq_rel     mean (p - t)^2 / t
    rmse         sqrt mean (p - t)^2          rmse_log   sqrt mean e^2
    log10        mean |log10 p - log10 t|     silog      100 sqrt(mean e^2 - (mean e)^2)
"""

from math import log

import torch

from david.pipeline.batch import Batch, Target
from david.train.losses.masked import mean, wide
from david.train.losses.views import metres
from david.train.metrics.masked import where_any
from david.train.metrics.table import FIGURES_M, WITHIN_RATIO

SPAN_M = (1e-3, 1000.0)  # what a prediction is clipped to where no protocol says less


def measure(output: torch.Tensor, target: Target, batch: Batch) -> dict[str, torch.Tensor]:
    true = metres(target, batch)
    return {f"metric_{name}": one for name, one in metric_depth(output, true.value, true.valid).items()}


def metric_depth(
    prediction: torch.Tensor, depth_m: torch.Tensor, valid: torch.Tensor, span_m: tuple[float, float] = SPAN_M
) -> dict[str, torch.Tensor]:
    """The nine figures, by the names of `FIGURES_M`, (B,) each, NaN for an image without a valid pixel.

    prediction, depth_m: (B, 1, H, W) metres; valid: (B, 1, H, W) bool; span_m: what the prediction is clipped to before
    it is measured: what is infinite becomes the most, what is no number the least. A true depth that is not above 0 or
    not finite is not valid."""
    true = wide(depth_m)
    valid = valid & (true > 0) & true.isfinite()
    t = torch.where(valid, true, 1)
    p = torch.where(valid, within(prediction, span_m), 1)
    error, ratio = p - t, torch.maximum(p / t, t / p)
    e = p.log() - t.log()
    middle = mean(e, valid)
    apart = e - middle.view(-1, 1, 1, 1)  # centred, it keeps its digits
    found = {f"a{n}": mean((ratio < WITHIN_RATIO**n).float(), valid) for n in (1, 2, 3)} | {
        "abs_rel": mean(error.abs() / t, valid),
        "sq_rel": mean(error * error / t, valid),
        "rmse": mean(error * error, valid).sqrt(),
        "rmse_log": mean(e * e, valid).sqrt(),
        "log10": mean(e.abs(), valid) / log(10),
        "silog": 100 * mean(apart * apart, valid).sqrt(),
    }
    return where_any({name: found[name] for name in FIGURES_M}, valid)


def within(prediction: torch.Tensor, span_m: tuple[float, float]) -> torch.Tensor:
    """A prediction clipped to (least, most), float32 or better; infinity is the most, what is no number the least."""
    least, most = span_m
    return wide(prediction).nan_to_num(nan=least, posinf=most, neginf=least).clamp(least, most)
