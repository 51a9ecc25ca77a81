"""Who else hears of a run: TensorBoard always, Weights & Biases and MLflow where `--track` names them."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from david.pack.errors import DavidError

TRACKERS = ("wandb", "mlflow")  # packages, extras of david's own, and modules here behind `to_`


class Writer(Protocol):
    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Note values after `step`, by names such as `train/loss`."""

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        """Note a picture (H, W, 3) uint8."""

    def close(self) -> None: ...


def check(track: tuple[str, ...]) -> None:
    """Raise DavidError for a tracker that is not known or not installed."""
    for name in track:
        if name not in TRACKERS:
            raise DavidError(f"--track {name}: there are {' and '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise DavidError(f'--track {name}: not installed; pip install -e ".[{name}]" in the folder of david')


def writers(track: tuple[str, ...], out: Path, start: int, recipe: dict[str, Any]) -> list[Writer]:
    """TensorBoard's writer and the named ones, for the run in `out` that goes on after step `start`.

    recipe: the resolved one as plain JSON"""
    return [
        import_module(f"david.train.writers.to_{name}").open_writer(out, start, recipe)
        for name in ("tensorboard", *track)
    ]
