"""Batches made on the CPU: each thread takes a sample from its shard all the way to its place in the batch.

Threads keep what they decode into and batches are lent (`buffers.py`), so that no memory is taken afresh; all that is
long runs outside Python's lock.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import threading

import cv2
import numpy as np
import torch

from david.pack.errors import BadSample, DavidError
from david.pipeline import images, planes
from david.pipeline.batch import Batch
from david.pipeline.buffers import Arena
from david.pipeline.engine import Engine, Prepared, Work, left, numbers
from david.pipeline.geometry import place
from david.pipeline.reader import Reader
from david.pipeline.stages import Stages


class CpuEngine(Engine):
    """See `Engine`. batch_size: B"""

    IN_FLIGHT = 2  # batches submitted and not collected: threads go on with the next where one waits for its last

    def __init__(
        self, reader: Reader, size: tuple[int, int], resize: bool, batch_size: int, threads: int, stages: Stages
    ):
        super().__init__(reader, size, resize, threads, stages)
        cv2.setNumThreads(1)  # samples are spread over threads, not pixels
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

    def _prepare(self, work: Work, slot: int) -> Prepared:
        with self.stages.time("read"):
            encoded = self.reader.read(int(work.places.ids[slot]), self._room)
        self._fits(encoded)
        stored, image = self._lent(encoded.height, encoded.width)
        image_out, alpha, depth, valid, normals = (out[slot] for out in work.arrays)
        placement = place(work.draws, slot, encoded.height, encoded.width, *self.size)
        with self.stages.time("inflate"):
            planes.inflate(encoded, self.reader.compression, stored)
        with self.stages.time("join"):
            planes.join(stored[1:], placement, depth[0], valid[0], normals)
        straight = placement.plain and not placement.flip and not work.recoloured[slot]
        with self.stages.time("decode"):
            try:
                images.decode(encoded.rgb, image_out if straight else image)
            except DavidError as error:
                raise BadSample(encoded.where, f"{error}; `david verify` finds the damaged shards") from error
        with self.stages.time("augment"):
            images.place(stored[0], placement, alpha[0])
            if not straight:
                images.paint(image, placement, work.draws.colour[slot] if work.recoloured[slot] else None, image_out)
            if work.worn[slot]:
                images.wear(image_out, work.draws, slot)
        return left(encoded, placement)

    def _room(self, size: int) -> memoryview:
        """This thread's memory for a sample's encoded bytes."""
        known = getattr(self._memory, "room", None)
        if known is None or len(known) < size:
            known = self._memory.room = bytearray(size + size // 4)
        return memoryview(known)[:size]

    def _lent(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """This thread's memory for a sample's planes (6, h, w) and image (h, w, 3), both uint8."""
        known = getattr(self._memory, "lent", None)
        if known is None or known[0].shape[1:] != (height, width):
            known = self._memory.lent = (
                np.empty((planes.COUNT, height, width), np.uint8),
                np.empty((height, width, 3), np.uint8),
            )
        return known

    def collect(self) -> Batch:
        work = self._working.popleft()
        with self.stages.time("prepare"):
            prepared = work.prepared()
        fields = {**work.fields, "image": work.fields["image"].permute(0, 3, 1, 2)}
        return Batch(**fields, **numbers(work.places, prepared))
