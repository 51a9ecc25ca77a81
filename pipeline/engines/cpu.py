"""Batches made on the CPU: each thread takes a sample from its shard all the way to its place in the batch.

Threads keep what they decode into and batches are lent (`buffers.py`), so that no memory is taken afresh; all that is
long runs outside Python's lock.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import threading
from collections.abc import Callable
from itertools import chain
from math import prod
from time import perf_counter

import cv2
import numpy as np
import torch

from david.pack.errors import BadSample, DavidError
from david.pipeline.batch import TARGETS, Batch
from david.pipeline.engines import images, planes
from david.pipeline.engines.buffers import Arena, Shapes, pageable
from david.pipeline.engines.engine import Engine, Prepared, Work, left, numbers
from david.pipeline.engines.layout import layout
from david.pipeline.reading import members
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling.placement import Fit
from david.pipeline.stages import Stages


class CpuEngine(Engine):
    """See `Engine`. batch_size: B; memory: gives what batches are made in, see `Arena`"""

    IN_FLIGHT = 2  # batches submitted and not collected: threads go on with the next where one waits for its last

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        fit: Fit,
        batch_size: int,
        threads: int,
        stages: Stages,
        memory: Callable[[int], np.ndarray] = pageable,
    ):
        super().__init__(reader, size, fit, threads, stages)
        cv2.setNumThreads(1)  # samples are spread over threads, not pixels
        fields: Shapes = {"image": ((batch_size, *size, 3), torch.uint8)}
        for name, (channels, dtype) in self.targets.items():
            fields[f"{TARGETS}{name}.value"] = (batch_size, channels, *size), dtype
            fields[f"{TARGETS}{name}.valid"] = (batch_size, 1, *size), torch.bool
        self._arena = Arena(fields, memory)
        self._memory = threading.local()

    def _lend(self) -> dict[str, torch.Tensor]:
        return self._arena.lend()

    def _prepare(self, work: Work, slot: int) -> Prepared:
        begin = perf_counter()
        encoded = self.reader.read(work.ids[slot], self._room)
        placement, size = self._place(work, slot, encoded), (encoded.height, encoded.width)
        read = perf_counter()
        image_out = work.arrays["image"][slot]
        values = {name: work.arrays[f"{TARGETS}{name}.value"][slot] for name in self.targets}
        masks = {name: work.arrays[f"{TARGETS}{name}.valid"][slot, 0] for name in self.targets}
        plan = layout(encoded.fields)
        stored = self._lent("planes", (plan.count, *size))
        smooth = {  # what only the mirror changes is decoded where it belongs
            name: values[name][0] if placement.plain else self._lent(f"{name} values", size) for name in plan.smooth
        }
        outs = {name: stored[plan.sharp[name]] if name in plan.sharp else smooth[name][None] for name in plan.names}
        pairs = ((masks[name], values[name] if name in plan.sharp else planes.NOTHING) for name in plan.names)
        filled = stored, placement, plan.program(encoded.ranges), tuple(chain.from_iterable(pairs))
        inflating_s = None
        if members.LZ4 and encoded.compression == "lz4" and plan.names:
            packed = tuple(encoded.planes[name] for name in plan.names)
            inflating_s = planes.join(*filled, packed, tuple(outs.values()))
        if inflating_s is None:  # by the packages, which name what is damaged
            members.inflate(encoded.planes, encoded.compression, outs, encoded.where)
            inflating_s = perf_counter() - read
            if plan.names:
                planes.join(*filled)
        for name in self.targets:
            if name not in plan.names:
                values[name][:], masks[name][:] = 0, False
        joined = perf_counter()
        colour = work.draws.colour[slot] if work.recoloured[slot] else None
        image = image_out if placement.plain and colour is None else self._lent("image", (*size, 3))
        try:
            images.decode(encoded.rgb, image)
        except DavidError as error:
            raise BadSample(encoded.where, f"{error}; `david verify` finds the damaged shards") from error
        decoded = perf_counter()
        for name, plane in smooth.items():
            images.resample(plane, placement, values[name][0])
        images.paint(image, placement, colour, image_out)
        if work.degraded[slot]:
            images.degrade(image_out, work.draws, slot)
        beyond = self.fit == "contain" and placement.beyond
        if beyond:
            image_out[~planes.within(placement)] = 0
        for name in smooth if beyond else plan.bounded:
            values[name][0][~masks[name]] = 0
        self.stages.add(
            ("read", read - begin),
            ("inflate", inflating_s),
            ("join", joined - read - inflating_s),
            ("decode", decoded - joined),
            ("augment", perf_counter() - decoded),
        )
        return left(encoded, placement)

    def _room(self, size: int) -> memoryview:
        """This thread's memory for a sample's encoded bytes."""
        return self._lent("room", (size,)).data

    def _lent(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """This thread's memory of that name, for the largest sample seen: uint8, with whatever bytes it holds."""
        size, held = prod(shape), self._memory.__dict__
        if name not in held or held[name].size < size:
            held[name] = np.empty(size + size // 4, np.uint8)
        return held[name][:size].reshape(shape)

    def collect(self) -> Batch:
        fields, known = self._finished()
        return self._batch(fields | known)

    def handed_over(self) -> None:
        """A batch on the CPU is whole when it is collected."""

    def _finished(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Of the batch that was submitted first: what was lent for it, filled, and its fields that are no images."""
        work = self._working.popleft()
        with self.stages.time("prepare"):
            prepared = work.prepared()
        return work.fields, numbers(work.picks, prepared, self.reader)

    def _batch(self, fields: dict[str, torch.Tensor]) -> Batch:
        return Batch.of({**fields, "image": fields["image"].permute(0, 3, 1, 2)})
