"""What `david export --check` asks of a file that was just written, on images that somebody has.

B images, H rows, W columns, S the side of the square that the file sees.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from david.model.predict import fit
from david.model.predict import pictures as readers
from david.model.predict.engine import Engine
from david.model.predict.predictor import Predictor
from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.train import distributed
from david.train.eval.answers import Answers
from david.train.eval.evaluate import evaluate

MOST = 32  # images; each goes through both networks on the CPU
AT_ONCE = 2
# How far a metric may move, as a share of it. Measured, it moves with the mean of the differences, far less than they.
LIMITS = {"fp32": 1e-3, "fp16": 1e-2}
NOTHING = 1e-4  # and whatever it is, so far


def pictures(paths: Sequence[Path], side: int) -> list[np.ndarray]:
    """The first of some pictures as the official demo brings them to the network, (S, S, 3) uint8. Raises DavidError
    where one cannot be read."""
    return [fit.prepare(readers.read(path), "square", side).image for path in paths[:MOST]]


def samples(shards: Sequence[Path], split: str, side: int) -> list[Batch]:
    """The first samples of a split, whole in the square, with their targets."""
    data = DataConfig(height=side, width=side, fit="contain", threads=1)
    with Loader(shards, split, data, batch_size=AT_ONCE, seed=0, train=False) as loader:
        return [batch.each(torch.clone) for batch in itertools.islice(loader, MOST // AT_ONCE)]


def images(batches: Sequence[Batch]) -> list[np.ndarray]:
    """What the network sees of them, (S, S, 3) uint8 each."""
    return [image for batch in batches for image in batch.image.permute(0, 2, 3, 1).numpy()]


class Metrics:
    """The task's metrics on samples, of the network and of its file, kept in `values` by name."""

    def __init__(self, batches: Sequence[Batch], precision: str, path: Path):
        self.batches, self.precision, self.path, self.side = batches, precision, path, batches[0].image.shape[-1]
        self.values: dict[str, tuple[float, float]] = {}

    def __call__(self, network: Engine, file: Engine) -> None:
        """Raises DavidError where they differ in one by more than `LIMITS`."""
        alone = distributed.World(0, 1, torch.device("cpu"))
        predictors = (Predictor((engine,), side=self.side, name=str(self.path)) for engine in (network, file))
        ours, theirs = (evaluate(Answers(predictor), self.batches, alone) for predictor in predictors)
        self.values = {name: (ours[name], its) for name, its in theirs.items() if name != "samples"}
        share = LIMITS[self.precision]
        wrong = [
            f"{name} {mine:.5g} became {its:.5g}"
            for name, (mine, its) in self.values.items()
            if not abs(mine - its) <= share * abs(mine) + NOTHING
        ]
        if wrong:
            raise DavidError(
                f"{self.path}: not written, since metrics moved by more than {share:.1%} on "
                f"{int(ours['samples'])} samples: {', '.join(wrong)}"
            )
