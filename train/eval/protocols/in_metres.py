"""Depth measured in metres, whatever a network says of it: metric depth as it is, relative answers after their fit.

Also iBims-1's edges and planes, where the truth has them, and whose point of two is the nearer. H rows, W columns, N
pixels that count.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from david.pack.errors import BadSample
from david.pack.shards.sample import Sample
from david.train.eval.protocols import geometry
from david.train.eval.protocols.figures import SCENES
from david.train.eval.protocols.geometry import Plane
from david.train.eval.protocols.one import One
from david.train.eval.protocols.spans import Span
from david.train.eval.protocols.table import Protocol
from david.train.losses import alignment
from david.train.metrics.metric_depth import metric_depth, within

TINY, LARGE = 1e-6, 1e6  # metres that nobody measures
GEOMETRY_M = 50.0  # as far as iBims-1 reaches, of which edges, planes and sides take all
NORMAL = slice(4, 7)  # of the numbers that iBims-1 tells of a plane
Fitted = tuple[np.ndarray, float, float]  # (H, W) float64 metres; the scale and the shift that made them


def depth(said: np.ndarray, sample: Sample, protocol: Protocol, way: str) -> One:
    """said: (H, W), the field `way` of a prediction. Relative answers are fitted on the pixels that count; all are
    clipped to the protocol's range. The figures are NaN where no pixel counts."""
    span = protocol.span
    assert span is not None
    counts, true = span.counts(sample), sample.depth_m.astype(np.float64)
    chosen = true[counts]
    metres, scale, shift = WAYS[way](said.astype(np.float64), true, counts, span)
    figures = metric_depth(_row(metres[counts]), _row(chosen), _row(np.ones(len(chosen), bool)), span.range_m)
    found = {f"metric_{name}": float(value) for name, value in figures.items()}
    if protocol.geometry:
        whole, _, _ = WAYS[way](said.astype(np.float64), true, counts, replace(span, most_m=GEOMETRY_M))
        found |= _geometry(whole, sample)
    agrees = _agreement(said[counts], chosen) if way == "metric_depth_m" else 1.0
    return One(found, len(chosen), None, scale, shift, metres.astype(np.float32), agrees)


def metric(said: np.ndarray, true: np.ndarray, counts: np.ndarray, span: Span) -> Fitted:
    return within(torch.from_numpy(said), span.range_m).numpy(), 1.0, 0.0


def disparity(said: np.ndarray, true: np.ndarray, counts: np.ndarray, span: Span) -> Fitted:
    """Carried onto 1 / metres, clipped, inverted."""
    carried, scale, shift = _fitted(said, 1 / np.where(counts, true, 1), counts)
    return 1 / carried.clip(1 / span.most_m, 1 / span.least_m), scale, shift


def relative(said: np.ndarray, true: np.ndarray, counts: np.ndarray, span: Span) -> Fitted:
    """Carried onto metres, clipped."""
    carried, scale, shift = _fitted(said, true, counts)
    return carried.clip(*span.range_m), scale, shift


WAYS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray, Span], Fitted]] = {  # by field of a prediction
    "metric_depth_m": metric,
    "relative_disparity": disparity,
    "relative_depth": relative,
}


def _fitted(said: np.ndarray, wanted: np.ndarray, counts: np.ndarray) -> Fitted:
    """What was said, (H, W), carried onto what is wanted of it; the scale not below 0."""
    chosen = said[counts]
    if not len(chosen):
        return np.ones_like(said), 1.0, 0.0
    middle, spread = float(chosen.mean()), float(chosen.std()) or 1.0
    relative, target = _row((chosen - middle) / spread), _row(wanted[counts])
    found = alignment.fit(relative, target, torch.ones_like(target, dtype=torch.bool))
    scale, shift = (float(one) for one in found)
    return scale * (said - middle) / spread + shift, scale, shift


def _agreement(said: np.ndarray, true: np.ndarray) -> float:
    """The correlation of log metres, before they are clipped; NaN where either is flat."""
    if len(true) < 2:
        return float("nan")
    p, t = np.log(np.nan_to_num(said, nan=TINY, posinf=LARGE).clip(TINY, LARGE)), np.log(true)
    p, t = p - p.mean(), t - t.mean()
    length = np.sqrt((p @ p) * (t @ t))
    return float(p @ t / length) if length > 1e-9 * len(true) else float("nan")


def _geometry(metres: np.ndarray, sample: Sample) -> dict[str, float]:
    """What the sample tells of edges, planes and sides, on all pixels that have a depth, as its authors measure them,
    whatever the crop and the range of the other figures; NaN where it tells nothing."""
    true, valid = sample.depth_m.astype(np.float64), sample.depth_valid
    edges = sample.value("edges") > 0 if "edges" in sample.values else np.zeros(valid.shape, bool)
    return {
        **geometry.boundaries(metres, edges),
        **geometry.planes(metres, true, valid, planes_of(sample), _camera(sample)),
        **geometry.sides(metres, true, valid),
    }


def planes_of(sample: Sample) -> list[Plane]:
    """The planes that a sample of iBims-1 tells, see `pack/sources/ibims.py`."""
    return [
        Plane(sample.value(name) == number, np.array(row[NORMAL], np.float64))
        for name, rows in sample.meta.get("planes", {}).items()
        if name in sample.values
        for number, row in enumerate(rows, start=1)
    ]


def _camera(sample: Sample) -> np.ndarray:
    if sample.intrinsics is not None:
        return sample.intrinsics
    if sample.meta.get("planes"):
        raise BadSample(f"sample {sample.key}", "has planes and no camera, without which they can't be measured")
    return np.eye(3)


def nearness(said: np.ndarray, sample: Sample, protocol: Protocol, way: str) -> One:
    """The share of a sample's pairs of points that are told in the right order, of all and of its kind of scene; equal
    answers count half."""
    points = np.array(sample.meta["pairs"]).reshape(-1, 4)  # row and column of the nearer, of the other
    first, second = (said[points[:, at], points[:, at + 1]].astype(np.float64) for at in (0, 2))
    nearer = np.sign(first - second) * (1 if way == "relative_disparity" else -1)
    right, scene = float(np.mean((nearer + 1) / 2)), sample.meta.get("scene_type")
    by_scene = {f"pairs_{one}": right if one == scene else float("nan") for one in SCENES}
    return One({"pairs_right": right, **by_scene}, len(points))


def _row(values: np.ndarray) -> torch.Tensor:
    """Pixels as metrics take them: one image of one row."""
    return torch.from_numpy(np.ascontiguousarray(values).reshape(1, 1, 1, -1))
