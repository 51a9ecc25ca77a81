"""Batches made on the CPU: planes by our threads, images by DALI's.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from david.pipeline import augment, decode, planes
from david.pipeline.buffers import Arena
from david.pipeline.engine import Engine, Work
from david.pipeline.reader import Encoded, Reader
from david.pipeline.stages import Stages


class CpuEngine(Engine):
    """See `Engine`. batch_size: B"""

    def __init__(
        self, reader: Reader, size: tuple[int, int], resize: bool, batch_size: int, threads: int, stages: Stages
    ):
        super().__init__(
            reader, size, resize, threads, decode.cpu_graph(batch_size, threads, size if resize else None), stages
        )
        self._arena = Arena(
            {
                "image": ((batch_size, *size, 3), torch.uint8),
                "alpha": ((batch_size, 1, *size), torch.uint8),
                "depth": ((batch_size, 1, *size), torch.float16),
                "valid": ((batch_size, 1, *size), torch.bool),
                "normals": ((batch_size, 3, *size), torch.float16),
            }
        )
        self._memory = threading.local()

    def _lend(self) -> dict[str, torch.Tensor]:
        return self._arena.lend()

    def _prepare(self, work: Work, encoded: Encoded, slot: int) -> dict[str, np.ndarray]:
        inflated, joining = self._lent(encoded.height, encoded.width)
        with self.stages.time("inflate"):
            planes.inflate(encoded, self.reader.manifest.compression, inflated)
        with self.stages.time("join"):
            flip = bool(work.draws.flip[slot])
            depth, valid, normals = (work.fields[name][slot].numpy() for name in ("depth", "valid", "normals"))
            warped = planes.warp(inflated[1:], *self.size, flip)
            planes.join(warped, flip, depth[0], valid[0], normals, joining)
        rgb, alpha = np.frombuffer(encoded.rgb, np.uint8), inflated[0]
        if self.resize:
            return {"rgb": rgb, "alpha": alpha[:, :, None].copy()}
        _copy_alpha(alpha, flip, work.fields["alpha"][slot, 0].numpy())
        return {"rgb": rgb}

    def _lent(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """This thread's memory, for a sample's planes (6, h, w) uint8 and for joining them."""
        if not hasattr(self._memory, "joining"):
            self._memory.joining = planes.scratch(self.size[1])
        known = getattr(self._memory, "inflated", None)
        if known is None or known.shape[1:] != (height, width):
            known = self._memory.inflated = np.empty((planes.COUNT, height, width), np.uint8)
        return known, self._memory.joining

    def _finish(self, work: Work, outputs: Sequence[Any]) -> dict[str, torch.Tensor]:
        coloured = ~work.draws.identity()
        images, alphas = work.fields["image"].numpy(), work.fields["alpha"].numpy()
        for slot, flip in enumerate(work.draws.flip.tolist()):
            colour = work.draws.colour[slot] if coloured[slot] else None
            augment.paint(outputs[0].at(slot), flip, colour, images[slot])
            if self.resize:
                _copy_alpha(outputs[1].at(slot)[:, :, 0], flip, alphas[slot, 0])
        return {**work.fields, "image": work.fields["image"].permute(0, 3, 1, 2)}


def _copy_alpha(alpha: np.ndarray, flip: bool, out: np.ndarray) -> None:
    if flip:
        cv2.flip(alpha, 1, dst=out)
    else:
        np.copyto(out, alpha)
