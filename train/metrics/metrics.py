"""Every metric of a prediction, each by the row that `table.py` has for it."""

import torch

from david.model.heads.table import HEADS
from david.model.prediction import Prediction
from david.pack.lazy import load
from david.pipeline.batch import Batch
from david.train.metrics.table import METRICS


def metrics(prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
    """The metrics of the heads that the prediction has, of targets that the batch has: name to (B,) float32, NaN where
    an image has nothing to measure on. In the order of the table."""
    found: dict[str, torch.Tensor] = {}
    for name, metric in METRICS.items():
        output = HEADS[metric.head].output
        if name not in found and output in prediction and metric.target in batch.targets:
            found |= load(metric.measure)(prediction[output], batch.targets[metric.target], batch)
    return {name: found[name] for name in METRICS if name in found}
