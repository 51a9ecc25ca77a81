"""One picture measured, and the measures of all pictures kept: the metrics of `train/metrics` on the pixels that count.

H rows, W columns, N pixels that count.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from david.pack.check.histogram import Histogram
from david.pack.errors import DavidError
from david.pack.shards.sample import Sample
from david.train.eval.protocols import figures, in_metres
from david.train.eval.protocols.band import band
from david.train.eval.protocols.one import One
from david.train.eval.protocols.table import Protocol
from david.train.losses import alignment
from david.train.metrics import alpha as alphas
from david.train.metrics import depth as depths
from david.train.metrics import normals as angles

ANGLE_BINS = 18_000  # of a hundredth of a degree


def depth(said: np.ndarray, sample: Sample, protocol: Protocol, way: str) -> One:
    """Relative depth (H, W), on all pixels that have a depth."""
    valid = sample.depth_valid
    chosen = said[valid].astype(np.float64)
    middle, spread = float(chosen.mean()), float(chosen.std()) or 1.0
    relative = _row((chosen - middle) / spread)  # the same after the fit, whatever the network's own scale
    depth_cm = _row(100 * sample.depth_m[valid].astype(np.float64))
    whole = torch.ones_like(depth_cm, dtype=torch.bool)
    scale, shift = (float(x) / 100 for x in alignment.fit(relative, depth_cm, whole))
    found = depths.depth(relative, depth_cm, whole)
    return One(_floats(found), chosen.size, None, scale / spread, shift - scale * middle / spread)


def normals(said: np.ndarray, sample: Sample, protocol: Protocol, way: str) -> One:
    """Directions (H, W, 3), on all pixels that have a normal."""
    valid = sample.normals_valid
    told, true = (torch.from_numpy(x[valid].T[None, :, None].copy()) for x in (said, sample.normals))
    angle = angles.angles_deg(told, true)
    found = angles.of_angles(angle, torch.ones_like(angle, dtype=torch.bool))
    return One(_floats(found), angle.numel(), angle.flatten().numpy())


def alpha(said: np.ndarray, sample: Sample, protocol: Protocol, way: str) -> One:
    """Shares (H, W), on all pixels."""
    told, true = _row(said), _row(sample.alpha.astype(np.float32) / 255)
    unknown = _row(band(protocol.band, sample))
    found = alphas.alpha(told, true, torch.ones_like(unknown), unknown)
    return One(_floats(found), told.numel())


MEASURES: dict[str, Callable[[np.ndarray, Sample, Protocol, str], One]] = {  # said, sample, protocol, which field it is
    "relative_depth": depth,
    "normals": normals,
    "alpha": alpha,
    "metric_depth_m": in_metres.depth,
    "nearness": in_metres.nearness,
}


def _row(values: np.ndarray) -> torch.Tensor:
    """Pixels as metrics take them: one image of one row."""
    return torch.from_numpy(np.ascontiguousarray(values).reshape(1, 1, 1, -1))


def _floats(found: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items()}


@dataclass
class Score:
    """One subject on all pictures. fields: that it is measured on, in the protocol's order; values: figure -> one value
    a picture, NaN where a picture has no such truth; pixels: field -> how many counted in each picture; weights: figure
    -> what weighs pictures instead, if anything does; ways: field -> the field of its prediction that says it, where
    that has another name"""

    name: str
    protocol: Protocol
    fields: tuple[str, ...]
    values: dict[str, list[float]] = field(default_factory=dict)
    pixels: dict[str, list[int]] = field(default_factory=dict)
    weights: dict[str, list[float]] = field(default_factory=dict)
    mirrored: int = 0
    ways: dict[str, str] = field(default_factory=dict)
    agrees: list[float] = field(default_factory=list)
    angles: Histogram = field(default_factory=lambda: Histogram.between(0, 180, ANGLE_BINS))

    def add(self, said: Mapping[str, np.ndarray], sample: Sample) -> dict[str, One]:
        """Measure one picture. Raises DavidError where the subject says what is no number."""
        ones = {}
        for name in self.fields:
            way = self.ways.get(name, name)
            if way != "metric_depth_m" and not np.isfinite(said[way]).all():  # which is clipped to what can be
                raise DavidError(f"{self.name}: its {way} of {sample.key} holds what is no finite number")
            ones[name] = one = MEASURES[name](said[way], sample, self.protocol, way)
            self.pixels.setdefault(name, []).append(one.pixels)
            for figure in self.protocol.figures[name]:
                self.values.setdefault(figure.name, []).append(one.metrics[figure.of] * figure.factor)
                if figure.weight:
                    self.weights.setdefault(figure.name, []).append(one.metrics[figure.weight])
            if one.angles is not None:
                self.angles.add(one.angles)
            self.mirrored += one.scale <= 0
            self.agrees.append(one.agrees)
        return ones

    def means(self) -> dict[str, float]:
        """Each figure's mean over images."""
        found = {name: figures.by_image(values) for name, values in self.values.items()}
        return {name: value for name, value in found.items() if value == value}

    def pooled(self) -> dict[str, float]:
        """Each figure of all pixels of all images; those that are no mean are left out."""
        found = {}
        for name in self.fields:
            for figure in self.protocol.figures[name]:
                weights = self.weights.get(figure.name, self.pixels[name])
                value = figures.pooled(figure, self.values[figure.name], weights)
                if figure.pooled == "median":
                    value = self.angles.quantile(0.5)
                if value is not None:
                    found[figure.name] = value
        return found
