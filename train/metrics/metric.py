"""The metrics by name: unit and direction of each. Without torch; `metrics.py` computes them."""

from dataclasses import dataclass

from rich.table import Table

from david.pack import tables

WITHIN_RATIO = 1.25
WITHIN_DEGREES = (11.25, 22.5, 30.0)


@dataclass(frozen=True)
class Metric:
    """unit: of its values, `share` is 0 .. 1; grows: whether more is better"""

    unit: str
    grows: bool = False


METRICS = {  # by name, which begins with the head's
    "depth_abs_rel": Metric("share"),
    "depth_rmse_cm": Metric("cm"),
    f"depth_within_{WITHIN_RATIO:g}": Metric("share", grows=True),
    "normals_mean_deg": Metric("degrees"),
    "normals_median_deg": Metric("degrees"),
    **{f"normals_within_{degrees:g}": Metric("share", grows=True) for degrees in WITHIN_DEGREES},
    "alpha_mae": Metric("share"),
    "alpha_mse": Metric("share"),
    "alpha_sad": Metric("1000 pixels"),
    "alpha_sad_unknown": Metric("1000 pixels"),
    "alpha_iou": Metric("share", grows=True),
}
RANKED_BY = {"depth": "depth_abs_rel", "normals": "normals_mean_deg", "alpha": "alpha_mae"}  # head -> its worst cases


def table(found: dict[str, float]) -> Table:
    """Metrics by name as a table for people: value, unit, and which way is better."""
    drawn = tables.table("metric, on the samples held out", "value", "unit", "better", right=("value",))
    for name, value in found.items():
        metric = METRICS.get(name)  # `samples` is none
        told = (metric.unit, "higher" if metric.grows else "lower") if metric else ("", "")
        drawn.add_row(name, f"{value:.4g}", *told)
    return drawn
