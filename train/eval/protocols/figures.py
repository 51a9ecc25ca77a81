"""The figures of a benchmark: which metrics of a field, in which unit, and how pixels of all images are pooled.

Values are first computed for each image, by the functions of `train/metrics`. Two sums are told of them: the mean over
images, as papers have it, and the figure of all pixels of all images as if they were one image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from david.train.metrics.table import WITHIN_DEGREES


@dataclass(frozen=True)
class Figure:
    """One row. name: in JSON and CSV; of: the metric of `METRICS`, times `factor` in `unit`; heading: in tables; form:
    how a value is shown; grows: whether more is better

    pooled: how the images' values become that of all pixels: `mean` weighs them by their pixels, `root` does so with
    their squares, `median` counts pixels in a histogram; None: a sum has no such figure"""

    name: str
    of: str
    heading: str
    unit: str
    pooled: Literal["mean", "root", "median"] | None
    factor: float = 1.0
    form: str = "{:.4f}"
    printed: str | None = None
    grows: bool = False


ABS_REL = Figure("depth_abs_rel", "depth_abs_rel", "AbsRel", "share", "mean", printed="{:.3f}")
RMSE_M = Figure("depth_rmse_m", "depth_rmse_cm", "RMSE, m", "m", "root", 0.01, printed="{:.3f}")
RMSE_DM = replace(RMSE_M, name="depth_rmse_dm", heading="RMSE, dm", unit="dm", factor=0.1)
ANGLES = (
    Figure("normals_mean_deg", "normals_mean_deg", "mean, deg", "degrees", "mean", form="{:.2f}"),
    Figure("normals_median_deg", "normals_median_deg", "median", "degrees", "median", form="{:.2f}"),
    *(
        Figure(f"normals_within_{d:g}", f"normals_within_{d:g}", f"< {d:g}", "share", "mean", form="{:.1%}", grows=True)
        for d in WITHIN_DEGREES
    ),
)
SAD = Figure("alpha_sad", "alpha_sad", "SAD", "1000 pixels", None, form="{:.2f}")
SAD_T = Figure("alpha_sad_unknown", "alpha_sad_unknown", "SAD-T", "1000 pixels", None, form="{:.2f}")
MSE = Figure("alpha_mse", "alpha_mse", "MSE", "share", "mean")
MAE = Figure("alpha_mae", "alpha_mae", "MAE", "share", "mean")

LEADS = {  # field of a prediction -> the metric that its worst images are found by
    "relative_depth": "depth_abs_rel",
    "normals": "normals_mean_deg",
    "alpha": "alpha_sad",
}
TARGETS = {"relative_depth": "depth", "normals": "normals", "alpha": "alpha"}  # field of a prediction -> of a sample


def by_image(values: Sequence[float]) -> float:
    """The mean over images."""
    return float(np.mean(values))


def pooled(figure: Figure, values: Sequence[float], pixels: Sequence[int]) -> float | None:
    """A figure of all pixels from those of the images, each with so many pixels; of a median see `score.Score`."""
    if figure.pooled not in ("mean", "root"):
        return None
    powers = np.array(values, np.float64) ** (2 if figure.pooled == "root" else 1)
    mean = float(np.average(powers, weights=pixels))
    return mean**0.5 if figure.pooled == "root" else mean
