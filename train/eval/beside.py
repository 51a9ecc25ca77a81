"""What predictors say of samples, beside them: pictures and figures by the code that pictures and measures training.

B images (one here), H rows, W columns.
"""

from dataclasses import dataclass

import numpy as np
import torch

from david.model.heads.table import HEADS, Head
from david.model.predict import drawing
from david.model.predict.fields import Fields
from david.model.predict.predictor import Predictor
from david.pack.look.compared import Beside, Cell, Compared
from david.pack.shards.sample import Sample
from david.pipeline.batch import Batch, Target
from david.train.eval import pictures
from david.train.eval.answers import BACK, prediction_of
from david.train.metrics.metrics import metrics
from david.train.metrics.table import METRICS


def compared(predictors: list[Predictor], names: list[str]) -> Compared:
    """These predictors under these names, to stand beside samples."""
    units = {name: (metric.unit, metric.grows) for name, metric in METRICS.items()}
    return Compared(names, lambda sample: beside(sample, predictors, names), units)


def beside(sample: Sample, predictors: list[Predictor], names: list[str]) -> Beside:
    """For each field that a predictor says a row: each one's prediction, then each one's error where there is truth."""
    batch = batch_of(sample)
    said = [_said(predictor, names[place], sample, batch) for place, predictor in enumerate(predictors)]
    rows = {}
    for field in dict.fromkeys(map(_field, HEADS)):  # depth of any kind is one row
        heads = [head for head in HEADS if _field(head) == field]
        found = [next((one.cells[head] for head in heads if head in one.cells), None) for one in said]
        if any(found):
            cells = [more or [Cell(f"{one.name}: says no {field}")] for more, one in zip(found, said, strict=True)]
            errors = [more[1] if len(more) > 1 else Cell() for more in cells] if batch.targets else []
            rows[field] = [first for first, *_ in cells] + errors
    scored = [name for name in METRICS if any(name in one.scores for one in said)]
    return Beside(rows, {name: [one.scores.get(name) for one in said] for name in scored})


@dataclass(frozen=True)
class _Said:
    """By one predictor. cells: head -> its prediction, and its error where there is truth"""

    name: str
    cells: dict[str, list[Cell]]
    scores: dict[str, float | None]


def _said(predictor: Predictor, name: str, sample: Sample, batch: Batch) -> _Said:
    fields = predictor.predict(sample.rgb)
    prediction = prediction_of([fields], [head for head in HEADS.values() if _known(head, fields)])
    cells = {
        head: [Cell(f"{name}: {column.label}", column.pictures[0], column.captions[0]) for column in columns[1:]]
        for head, columns in pictures.by_head(prediction, batch)
    }
    for head, row in HEADS.items():  # what there is no truth for, in its own colours
        if head not in cells and row.says in fields:
            cells[head] = [Cell(f"{name}: {row.says.replace('_', ' ')}", drawing.draw(fields, row.says))]
    scores = {one: float(value) for one, value in metrics(prediction, batch).items()}
    return _Said(name, cells, {one: None if np.isnan(value) else value for one, value in scores.items()})


def _known(head: Head, fields: Fields) -> bool:
    return head.says in fields and (head.finish is None or head.says in BACK)


def batch_of(sample: Sample) -> Batch:
    """A sample as a batch of one at its own size, its depth in metres as float32: scale 1, offset 0."""
    targets = {}
    for name in sample.values:
        value = sample.depth_m if name == "depth" else sample.value(name)
        planes = value[None] if value.ndim == 2 else value.transpose(2, 0, 1)
        valid = sample.valid(name) & np.isfinite(planes).all(0)
        known = np.ascontiguousarray(np.where(valid, planes, 0).astype(planes.dtype))
        targets[name] = Target(torch.from_numpy(known)[None], torch.from_numpy(valid)[None, None])
    one = torch.zeros(1)
    image = torch.from_numpy(np.ascontiguousarray(sample.rgb.transpose(2, 0, 1)))[None]
    return Batch(
        image,
        targets,
        intrinsics=torch.full((1, 3, 3), torch.nan),
        depth_offset_m=one,
        depth_scale_m=one + 1,
        ids=one.long(),
        epochs=one.long(),
        real=one == 0,
        sets=one.long(),
    )


def _field(head: str) -> str:
    """What samples call what a head says."""
    return pictures.PICTURES[head].target if head in pictures.PICTURES else head
