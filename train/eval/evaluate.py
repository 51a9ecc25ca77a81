"""A split's metrics: each sample once, whatever the ranks.

N samples of the split.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from david.pipeline.batch import Batch
from david.train.distributed import World
from david.train.metrics.metrics import metrics
from david.train.metrics.table import METRICS
from david.train.step.precision import computing_in, name_of


@dataclass(frozen=True)
class Scores:
    """What was measured of each sample.

    ids: (N,) int64, positions in the split, rising; values: metric -> (N,) float64, NaN where there is nothing to
    measure on; precision: what the network computed in, as recipes name it
    """

    ids: np.ndarray
    values: dict[str, np.ndarray]
    precision: str = "fp32"

    def means(self) -> dict[str, float]:
        """The mean of each metric over the samples that it could be measured on; `samples` is the number of all."""
        means: dict[str, float] = {"samples": len(self.ids)}
        for name, values in self.values.items():
            measured = values[~np.isnan(values)]
            if len(measured):
                means[name] = float(measured.mean())
        return means

    def worst(self, name: str, most: int) -> list[int]:
        """The ids of the samples that do worst by a metric, the worst first, `most` of them at most."""
        values = self.values[name]
        order = np.argsort(values if METRICS[name].grows else -values, kind="stable")  # NaN stands last
        return [int(self.ids[place]) for place in order if not np.isnan(values[place])][:most]


@torch.inference_mode()
def score(network: nn.Module, batches: Iterable[Batch], world: World, half: torch.dtype | None = None) -> Scores:
    """Every metric of every sample, on every rank the same.

    batches: this rank's, as many and as large as any other rank's; samples that are not real count nothing
    half: what the network computes in, see `precision.py`; it is left in the mode that it was in
    """
    was_training = network.training
    network.eval()
    tables = []  # (B, 2 + metrics) float64: id, real, values
    names: list[str] = []
    for batch in batches:
        with computing_in(half, batch.image.device):
            prediction = network(batch.image)
        found = metrics(prediction, batch)
        names = list(found)
        tables.append(torch.stack([x.double() for x in (batch.ids, batch.real, *found.values())], dim=1))
    network.train(was_training)
    table = world.gather(torch.cat(tables)).flatten(0, 1).cpu().numpy()
    table = table[table[:, 1] == 1]
    table = table[np.argsort(table[:, 0])]
    return Scores(table[:, 0].astype(np.int64), dict(zip(names, table[:, 2:].T, strict=True)), name_of(half))


def evaluate(
    network: nn.Module, batches: Iterable[Batch], world: World, half: torch.dtype | None = None
) -> dict[str, float]:
    """The mean over samples of each metric, see `score` and `Scores.means`."""
    return score(network, batches, world, half).means()
