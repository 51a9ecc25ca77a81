"""TensorBoard: event files in the run's own folder; steps after the one that the run goes on from are purged."""

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    def __init__(self, folder: Path, start: int):
        self._board = SummaryWriter(str(folder), purge_step=start + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        self._board.add_image(name, sheet, step, dataformats="HWC")

    def close(self) -> None:
        self._board.close()


def open_writer(out: Path, start: int, recipe: dict[str, Any]) -> TensorBoard:
    return TensorBoard(out / "tensorboard", start)
