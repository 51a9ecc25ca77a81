"""The metrics by name: what each measures, its unit and direction. Without torch; the functions do the computing.

A new one is a function in a file here and a row in `METRICS` for each number that it gives.
"""

from dataclasses import dataclass

from rich.table import Table

from david.pack import tables
from david.pack.lazy import Lazy

WITHIN_RATIO = 1.25
WITHIN_DEGREES = (11.25, 22.5, 30.0)
FIGURES_M = {  # of depth in metres, see `metric_depth.py`: unit, and whether more is better
    **dict.fromkeys(("a1", "a2", "a3"), ("share", True)),
    **{"abs_rel": ("share", False), "sq_rel": ("m", False), "rmse": ("m", False), "rmse_log": ("log", False)},
    **{"log10": ("log10", False), "silog": ("100 log", False)},
}


@dataclass(frozen=True)
class Metric:
    """One row.

    head: whose output is measured; target: the field of a batch that it is held against
    measure: (output, target, batch) to each of its metrics by name, (B,) each, NaN where an image has nothing to
        measure on; metrics of one head that share it are computed at once
    unit: of its values, `share` is 0 .. 1; grows: whether more is better
    ranks: whether its head's worst cases are found by it
    """

    head: str
    target: str
    measure: Lazy
    unit: str
    grows: bool = False
    ranks: bool = False


DEPTH = ("depth", "depth", "david.train.metrics.depth:measure")
NORMALS = ("normals", "normals", "david.train.metrics.normals:measure")
ALPHA = ("alpha", "alpha", "david.train.metrics.alpha:measure")
METRIC_DEPTH = ("metric_depth", "depth", "david.train.metrics.metric_depth:measure")
DISPARITY = ("disparity", "depth", "david.train.metrics.disparity:measure")


def _in_metres(prefix: str, row: tuple[str, str, Lazy]) -> dict[str, Metric]:
    """A row for each of `FIGURES_M`."""
    return {
        f"{prefix}_{name}": Metric(*row, unit, grows, ranks=name == "abs_rel")
        for name, (unit, grows) in FIGURES_M.items()
    }


METRICS: dict[str, Metric] = {
    "depth_abs_rel": Metric(*DEPTH, "share", ranks=True),
    "depth_rmse_cm": Metric(*DEPTH, "cm"),
    f"depth_within_{WITHIN_RATIO:g}": Metric(*DEPTH, "share", grows=True),
    "normals_mean_deg": Metric(*NORMALS, "degrees", ranks=True),
    "normals_median_deg": Metric(*NORMALS, "degrees"),
    **{f"normals_within_{degrees:g}": Metric(*NORMALS, "share", grows=True) for degrees in WITHIN_DEGREES},
    "alpha_mae": Metric(*ALPHA, "share", ranks=True),
    "alpha_mse": Metric(*ALPHA, "share"),
    "alpha_sad": Metric(*ALPHA, "1000 pixels"),
    "alpha_sad_unknown": Metric(*ALPHA, "1000 pixels"),
    "alpha_iou": Metric(*ALPHA, "share", grows=True),
    **_in_metres("metric", METRIC_DEPTH),
    **_in_metres("disparity", DISPARITY),
}


def table(found: dict[str, float]) -> Table:
    """Metrics by name as a table for people: value, unit, and which way is better."""
    drawn = tables.table("metric, on the samples held out", "value", "unit", "better", right=("value",))
    for name, value in found.items():
        metric = METRICS.get(name)  # `samples` is none
        meaning = (metric.unit, "higher" if metric.grows else "lower") if metric else ("", "")
        drawn.add_row(name, f"{value:.4g}", *meaning)
    return drawn
