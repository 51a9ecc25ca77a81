"""The figures of a benchmark: which metrics of a field, in which unit, and how pixels of all images are pooled.

Values are first computed for each image, by the functions of `train/metrics`. Two sums are told of them: the mean over
images, as papers have it, and the figure of all pixels of all images as if they were one image. An image that has
nothing to measure a figure on is left out of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from david.train.metrics.table import FIGURES_M, WITHIN_DEGREES


@dataclass(frozen=True)
class Figure:
    """One row. name: in JSON and CSV; of: the metric of `METRICS`, times `factor` in `unit`; heading: in tables; form:
    how a value is shown; grows: whether more is better

    pooled: how the images' values become that of all pixels: `mean` weighs them by their pixels, `root` does so with
    their squares, `median` counts pixels in a histogram; None: a sum has no such figure; weight: the metric that weighs
    images there instead of pixels"""

    name: str
    of: str
    heading: str
    unit: str
    pooled: Literal["mean", "root", "median"] | None
    factor: float = 1.0
    form: str = "{:.4f}"
    printed: str | None = None
    grows: bool = False
    weight: str | None = None


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

_IN_METRES: dict[str, tuple[str, Literal["mean", "root"] | None]] = {  # heading, and how pixels are pooled
    **{f"a{n}": (f"a{n}", "mean") for n in (1, 2, 3)},
    **{"abs_rel": ("AbsRel", "mean"), "sq_rel": ("SqRel", "mean"), "rmse": ("RMSE, m", "root")},
    **{"rmse_log": ("RMSE log", "root"), "log10": ("log10", "mean"), "silog": ("SILog", None)},
}
METRES = tuple(
    Figure(f"metric_{n}", f"metric_{n}", *_IN_METRES[n][:1], unit, _IN_METRES[n][1], form="{:.3f}", grows=grows)
    for n, (unit, grows) in FIGURES_M.items()
)
EDGES = (
    Figure("dbe_accuracy", "dbe_accuracy", "DBE acc", "pixels", None, form="{:.2f}"),
    Figure("dbe_completeness", "dbe_completeness", "DBE compl", "pixels", None, form="{:.2f}"),
)
PLANES = tuple(  # over all planes, as iBims-1's authors have them, where others are over all pixels
    Figure(name, name, heading, unit, "mean", form="{:.2f}", weight="pe_planes")
    for name, heading, unit in (("pe_planarity_cm", "PE, cm", "cm"), ("pe_orientation_deg", "PE, deg", "degrees"))
)
SIDES = tuple(
    Figure(name, name, heading, "share", "mean", form="{:.1%}", grows=grows, weight="dde_pixels")
    for name, heading, grows in (
        ("dde_right", "DDE 3 m", True),
        ("dde_near", "too near", False),
        ("dde_far", "too far", False),
    )
)
SCENES = ("indoor", "outdoor", "non_real", "transparent_reflective", "adverse_style", "aerial", "underwater", "object")
PAIRS = tuple(
    Figure(f"pairs_{name}", f"pairs_{name}", name.replace("_", " "), "share", "mean", form="{:.1%}", grows=True)
    for name in ("right", *SCENES)
)

LEADS = {  # field of a prediction -> the metric that its worst images are found by
    "relative_depth": "depth_abs_rel",
    "normals": "normals_mean_deg",
    "alpha": "alpha_sad",
    "metric_depth_m": "metric_abs_rel",
}
TARGETS = {  # what is measured -> of a sample
    **{"relative_depth": "depth", "normals": "normals", "alpha": "alpha", "metric_depth_m": "depth"},
    "nearness": "pairs",
}
IN_META = "pairs"  # that of these which stands in a sample's meta, not among its fields
WAYS = {  # what is measured -> fields of a prediction that say it, the first that there is counts; else the same name
    "metric_depth_m": ("metric_depth_m", "relative_disparity", "relative_depth"),
    "nearness": ("relative_disparity", "relative_depth", "metric_depth_m"),
    "relative_depth": ("relative_depth", "metric_depth_m"),
}
HOW = {  # field of a prediction -> how metres come of it
    "metric_depth_m": "metric",
    "relative_disparity": "fitted in disparity",
    "relative_depth": "fitted in depth",
}


def way(measured: str, fields: Sequence[str]) -> str | None:
    """The field of a prediction by which something is measured, of those that there are; None where none says it."""
    return next((one for one in WAYS.get(measured, (measured,)) if one in fields), None)


def by_image(values: Sequence[float]) -> float:
    """The mean over the images that have a value; NaN where none has."""
    there = [value for value in values if value == value]
    return float(np.mean(there)) if there else float("nan")


def pooled(figure: Figure, values: Sequence[float], pixels: Sequence[float]) -> float | None:
    """A figure of all pixels from those of the images, each with so many pixels; of a median see `score.Score`."""
    if figure.pooled not in ("mean", "root"):
        return None
    powers = np.array(values, np.float64) ** (2 if figure.pooled == "root" else 1)
    there = ~np.isnan(powers)
    if not there.any():
        return None
    mean = float(np.average(powers[there], weights=np.array(pixels)[there]))
    return mean**0.5 if figure.pooled == "root" else mean
