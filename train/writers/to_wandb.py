"""Weights & Biases: one run there for one folder here, gone on with when the folder is.

Its own environment variables say where to (WANDB_MODE=offline keeps everything in the run's folder). Values carry their
step themselves, since a run that was killed goes on from an earlier step than W&B heard last.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import wandb  # pyright: ignore[reportMissingImports]


class WeightsAndBiases:
    def __init__(self, out: Path, recipe: dict[str, Any]):
        name = hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(project="david", id=name, name=out.name, dir=out, config=recipe, resume="allow")
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"step": step} | values)

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        self._run.log({"step": step, name: wandb.Image(sheet)})

    def close(self) -> None:
        self._run.finish()


def open_writer(out: Path, start: int, recipe: dict[str, Any]) -> WeightsAndBiases:
    return WeightsAndBiases(out, recipe)
