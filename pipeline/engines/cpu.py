"""Batches made on the CPU: each thread takes a sample from its shard all the way to its place in the batch.

Threads keep what they decode into and batches are lent (`buffers.py`), so that no memory is taken afresh; all that is
long runs outside Python's lock.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import threading
from time import perf_counter

import cv2
import numpy as np
import torch

from david.pack.errors import BadSample, DavidError
from david.pipeline.batch import Batch
from david.pipeline.engines import images, planes
from david.pipeline.engines.buffers import Arena
from david.pipeline.engines.engine import Engine, Prepared, Work, left, numbers
from david.pipeline.reading import members
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling.geometry import place
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
                "targets.alpha.value": ((batch_size, 1, *size), torch.uint8),
                "targets.alpha.valid": ((batch_size, 1, *size), torch.bool),
                "targets.depth.value": ((batch_size, 1, *size), torch.float16),
                "targets.depth.valid": ((batch_size, 1, *size), torch.bool),
                "targets.normals.value": ((batch_size, 3, *size), torch.float16),
                "targets.normals.valid": ((batch_size, 1, *size), torch.bool),
            }
        )
        self._memory = threading.local()

    def _lend(self) -> dict[str, torch.Tensor]:
        return self._arena.lend()

    def _prepare(self, work: Work, slot: int) -> Prepared:
        begin = perf_counter()
        encoded = self.reader.read(work.ids[slot], self._room)
        self._fits(encoded)
        read = perf_counter()
        image, alpha, stored = self._lent(encoded.height, encoded.width)
        image_out, (alpha_out,), known, (depth,), (valid,), normals, (normals_valid,) = (
            out[slot] for out in work.arrays
        )
        known[:] = True
        placement = place(work.draws, slot, encoded.height, encoded.width, *self.size)
        if placement.plain:  # what only the mirror changes is decoded where it belongs
            alpha = alpha_out
        members.inflate(encoded.planes, self.reader.compression, alpha, stored, encoded.where)
        inflated = perf_counter()
        planes.join(stored, placement, depth, valid, normals, normals_valid)
        joined = perf_counter()
        colour = work.draws.colour[slot] if work.recoloured[slot] else None
        if placement.plain and colour is None:
            image = image_out
        try:
            images.decode(encoded.rgb, image)
        except DavidError as error:
            raise BadSample(encoded.where, f"{error}; `david verify` finds the damaged shards") from error
        decoded = perf_counter()
        images.place(alpha, placement, alpha_out)
        images.paint(image, placement, colour, image_out)
        if work.worn[slot]:
            images.wear(image_out, work.draws, slot)
        self.stages.add(
            ("read", read - begin),
            ("inflate", inflated - read),
            ("join", joined - inflated),
            ("decode", decoded - joined),
            ("augment", perf_counter() - decoded),
        )
        return left(encoded, placement)

    def _room(self, size: int) -> memoryview:
        """This thread's memory for a sample's encoded bytes."""
        known = getattr(self._memory, "room", None)
        if known is None or len(known) < size:
            known = self._memory.room = bytearray(size + size // 4)
        return memoryview(known)[:size]

    def _lent(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This thread's memory for a sample's image (h, w, 3), alpha (h, w) and planes (5, h, w), all uint8."""
        known = getattr(self._memory, "lent", None)
        if known is None or known[1].shape != (height, width):
            known = self._memory.lent = (
                np.empty((height, width, 3), np.uint8),
                np.empty((height, width), np.uint8),
                np.empty((planes.COUNT, height, width), np.uint8),
            )
        return known

    def collect(self) -> Batch:
        work = self._working.popleft()
        with self.stages.time("prepare"):
            prepared = work.prepared()
        fields = {**work.fields, "image": work.fields["image"].permute(0, 3, 1, 2)}
        return Batch.of(fields | numbers(work.places, prepared, self.reader))
