"""The pictures that a network does worst on, with what others say of them: kept small while the others go by.

H rows, W columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from david.pack.look import preview
from david.pack.shards.sample import Sample
from david.train.eval.pictures import colour_error
from david.train.eval.protocols.figures import LEADS, TARGETS, way
from david.train.eval.protocols.one import One
from david.train.metrics.normals import angles_deg

LONGEST_PX = 512  # side of what is kept of a picture
DEPTH_SHARE, METRIC_SHARE, ANGLE_DEG = 0.05, 0.25, 45.0  # errors that are brightest


@dataclass(frozen=True)
class Row:
    """One picture on a sheet. value: by which it is ranked; order: in which it came"""

    value: float
    order: int
    pictures: list[np.ndarray]
    captions: list[str]


@dataclass
class Worst:
    """most: rows of a sheet; fields: to draw; names: of the subjects, the first that has a field ranks its rows"""

    most: int
    fields: tuple[str, ...]
    names: Sequence[str]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    seen: int = 0

    def see(self, sample: Sample, said: Sequence[Mapping[str, np.ndarray]], ones: Sequence[Mapping[str, One]]) -> None:
        """said, ones: of each subject what it says of the picture, and how that was measured."""
        self.seen += 1
        for name in self.fields:
            who = [place for place, measured in enumerate(ones) if name in measured]
            rows = self.rows.setdefault(name, [])
            if not who or not self.most or name not in DRAW:
                continue
            value = ones[who[0]][name].metrics[LEADS[name]]
            if value != value:
                continue
            if len(rows) == self.most and value <= rows[-1].value:
                continue
            pairs = [(said[place][way(name, list(said[place])) or name], ones[place][name]) for place in who]
            truth, drawn, brightest = DRAW[name](small(sample), [(thin(x), one) for x, one in pairs])
            captions = [sample.key, ""]
            for place, _ in zip(who, pairs, strict=True):
                captions += ["", f"{LEADS[name]} {ones[place][name].metrics[LEADS[name]]:.4g}"]
            pictures = [thin(sample.rgb), truth, *(picture for pair in drawn for picture in pair)]
            self.labels[name] = ["rgb", "truth"]
            for place in who:
                self.labels[name] += [self.names[place], f"error 0 to {brightest}"]
            rows.append(Row(value, self.seen, pictures, captions))
            rows.sort(key=lambda row: (-row.value, row.order))
            del rows[self.most :]

    def sheets(self) -> dict[str, bytes]:
        """A PNG for each field, by file name."""
        return {
            f"worst-{TARGETS[name]}.png": preview.png(
                preview.sheet([row.pictures for row in rows], self.labels[name], [row.captions for row in rows])
            )
            for name, rows in self.rows.items()
            if rows
        }


def thin(values: np.ndarray) -> np.ndarray:
    """Every n-th row and column, so that no side is longer than `LONGEST_PX`: nothing is mixed."""
    step = -(-max(values.shape[:2]) // LONGEST_PX)
    return values[::step, ::step].copy()


def small(sample: Sample) -> Sample:
    values, masks = ({name: thin(one) for name, one in table.items()} for table in (sample.values, sample.masks))
    return Sample(sample.key, thin(sample.rgb), values, masks, step_m=sample.step_m)


Drawn = tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]], str]  # truth; prediction and error; what is brightest


def depth(sample: Sample, said: Sequence[tuple[np.ndarray, One]]) -> Drawn:
    """Near is warm; predictions after the fit, in the colours of the truth."""
    true, valid = sample.depth_m, sample.depth_valid
    span = preview.depth_span(true, valid)
    drawn = []
    for relative, one in said:
        metres = (one.scale * relative + one.shift).astype(np.float32)
        share = np.abs(metres - true) / np.where(valid, true, 1)
        drawn.append((preview.colour_depth(metres, valid, span), colour_error(share / DEPTH_SHARE, valid)))
    return preview.colour_depth(true, valid, span), drawn, f"{DEPTH_SHARE:.0%} of depth"


def in_metres(sample: Sample, said: Sequence[tuple[np.ndarray, One]]) -> Drawn:
    """As `depth`, of what was made metres already; shown all over, since a laser's truth is of single pixels."""
    true, valid = sample.depth_m, sample.depth_valid
    span = preview.depth_span(true, valid)
    drawn = []
    for _, one in said:
        assert one.metres is not None
        metres = thin(one.metres)
        share = np.abs(metres - true) / np.where(valid, true, 1) / METRIC_SHARE
        said_all_over = preview.colour_depth(metres, np.ones_like(valid), span)
        drawn.append((said_all_over, colour_error(*preview.grown(share, valid))))
    return preview.colour_depth(*preview.grown(true, valid), span), drawn, f"{METRIC_SHARE:.0%} of depth"


def normals(sample: Sample, said: Sequence[tuple[np.ndarray, One]]) -> Drawn:
    true, valid = sample.normals, sample.normals_valid
    drawn = []
    for directions, _ in said:
        pair = (torch.from_numpy(x.transpose(2, 0, 1)[None].copy()) for x in (directions, true))
        error = angles_deg(*pair)[0, 0].numpy()
        drawn.append((preview.colour_normals(directions, valid), colour_error(error / ANGLE_DEG, valid)))
    return preview.colour_normals(true, valid), drawn, f"{ANGLE_DEG:g} degrees"


def alpha(sample: Sample, said: Sequence[tuple[np.ndarray, One]]) -> Drawn:
    true, everywhere = sample.alpha, sample.valid("alpha")
    drawn = []
    for shares, _ in said:
        error = np.abs(shares - true.astype(np.float32) / 255)
        drawn.append((preview.colour_alpha(shares), colour_error(error, everywhere)))
    return preview.colour_alpha(true), drawn, "1"


DRAW: dict[str, Callable[[Sample, Sequence[tuple[np.ndarray, One]]], Drawn]] = {
    "relative_depth": depth,
    "metric_depth_m": in_metres,
    "normals": normals,
    "alpha": alpha,
}
