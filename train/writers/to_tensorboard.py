"""TensorBoard: event files in the run's own folder; steps after the one that the run goes on from are purged."""

from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from torch.utils.tensorboard import SummaryWriter

from david.pack.look import preview


class TensorBoard:
    def __init__(self, folder: Path, start: int):
        self._board = SummaryWriter(str(folder), purge_step=start + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, sheet: np.ndarray) -> None:
        height, width, channels = sheet.shape
        encoded = preview.png(sheet)  # `add_image` takes ten times as long to make the same PNG
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encoded)
        self._board._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def close(self) -> None:
        self._board.close()


def open_writer(out: Path, start: int, recipe: dict[str, Any]) -> TensorBoard:
    return TensorBoard(out / "tensorboard", start)
