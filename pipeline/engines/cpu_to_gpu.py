"""Batches made on the CPU and copied to a GPU while it computes: to the bit what the CPU's engine makes, without DALI.

A batch is made in pinned memory and crosses in two copies, of its pixels and of its numbers, on a stream that does
nothing else. Its memory is lent again once both are over. Whoever takes the batch has its own stream wait for them; no
host thread waits, unless batches are made faster than they cross.

Legend: B samples, H rows, W columns of the batch.
"""

from collections import deque
from typing import Any

import torch

from david.pipeline import trace
from david.pipeline.batch import Batch
from david.pipeline.engines.buffers import Arena, Shapes
from david.pipeline.engines.cpu import CpuEngine
from david.pipeline.engines.streams import Streams
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling.placement import Fit
from david.pipeline.stages import Stages

MOST_CROSSING = 2  # batches whose copies are not over; what is collected then waits for the first of them


class CpuToGpuEngine(CpuEngine):
    """See `Engine`. batch_size: B; streams: of the device"""

    def __init__(
        self,
        reader: Reader,
        size: tuple[int, int],
        fit: Fit,
        batch_size: int,
        threads: int,
        stages: Stages,
        streams: Streams,
    ):
        super().__init__(reader, size, fit, batch_size, threads, stages, streams.pinned)
        self._numbers: dict[Any, Arena] = {}  # by their shapes: of pairs of points a batch may have any number
        self._streams, self._stream = streams, streams.stream()
        self._blocks: deque[torch.Tensor] = deque()  # the block of each batch that was submitted and not collected
        self._crossing: deque[tuple[Any, list[torch.Tensor]]] = deque()  # events, and the memory that is read till then
        self._crossed: deque[tuple[Any, list[torch.Tensor]]] = deque()  # the same, there, of batches not handed over

    def _lend(self) -> dict[str, torch.Tensor]:
        self._blocks.append(self._arena.block())
        return self._arena.views(self._blocks[-1])

    def collect(self) -> Batch:
        _, known = self._finished()
        shapes: Shapes = {name: (tuple(one.shape), one.dtype) for name, one in known.items()}
        numbers = self._numbers.setdefault(tuple(shapes.items()), Arena(shapes, self._streams.pinned))
        blocks = [self._blocks.popleft(), numbers.block()]
        for name, one in numbers.views(blocks[1]).items():
            one.copy_(known[name])
        self._give_back(MOST_CROSSING - 1)
        with trace.span("copy", self.stages, stream=self._stream):
            there = [self._streams.copy(block, self._stream) for block in blocks]
        event = self._streams.event(self._stream)
        self._crossing.append((event, blocks))
        self._crossed.append((event, there))
        return self._batch(self._arena.views(there[0]) | numbers.views(there[1]))

    def handed_over(self) -> None:
        event, there = self._crossed.popleft()
        stream = self._streams.current()
        self._streams.wait(stream, event)
        for block in there:
            self._streams.used_on(block, stream)

    def close(self) -> None:
        super().close()
        self._give_back(0)
        self._crossed.clear()

    def _give_back(self, most: int) -> None:
        """Let go of memory whose copies are over, and wait until at most so many batches are crossing."""
        while self._crossing and (len(self._crossing) > most or self._crossing[0][0].query()):
            with trace.span("crossing", self.stages):
                self._crossing[0][0].synchronize()
            self._crossing.popleft()
