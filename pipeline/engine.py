"""From places in a split to batches: what the CPU's way and the GPU's have in common.

A batch passes through three hands, each ahead of the next: CPU threads read and prepare its samples, DALI decodes
them, and the loader's thread finishes them.

Legend: B samples of this rank's batch, H rows, W columns.
"""

import re
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from david.pack import codecs
from david.pack.errors import BadSample, DavidError
from david.pipeline import augment, decode
from david.pipeline.batch import Batch
from david.pipeline.draws import Draws
from david.pipeline.order import Places
from david.pipeline.reader import Encoded, Reader
from david.pipeline.stages import Stages


class Prepared(NamedTuple):
    """A sample that DALI can decode. inputs: what its graph takes, by name"""

    encoded: Encoded
    inputs: dict[str, np.ndarray]


@dataclass
class Work:
    """A batch in the making. fields: tensors that its samples are written to, where they are on the CPU"""

    places: Places
    draws: Draws
    fields: dict[str, torch.Tensor]
    preparing: list[Future[Prepared]] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)


class Engine(ABC):
    """Makes batches in the order in which they were submitted. Only one thread may use it.

    graph: of `decode.py`; size: (H, W) of the batches; resize: whether samples may have another size"""

    IN_FLIGHT = decode.AHEAD + 1  # batches submitted and not collected: one is read while DALI decodes the others

    def __init__(self, reader: Reader, size: tuple[int, int], resize: bool, threads: int, graph: Any, stages: Stages):
        self.reader, self.size, self.resize, self.stages = reader, size, resize, stages
        self._graph: Any = graph
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="david-read")
        self._reading: deque[Work] = deque()
        self._decoding: deque[Work] = deque()

    @abstractmethod
    def _lend(self) -> dict[str, torch.Tensor]:
        """Memory for the next batch."""

    @abstractmethod
    def _prepare(self, work: Work, encoded: Encoded, slot: int) -> dict[str, np.ndarray]:
        """DALI's inputs for one sample, on a CPU thread; slot: its place in the batch."""

    @abstractmethod
    def _finish(self, work: Work, outputs: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Image, alpha, depth, valid and normals of the batch, in memory of our own."""

    @property
    def in_flight(self) -> int:
        return len(self._reading) + len(self._decoding)

    def submit(self, places: Places, draws: Draws) -> None:
        """Start on a batch."""
        work = Work(places, draws, self._lend())
        work.preparing = [self._pool.submit(self._read, work, slot) for slot in range(len(places.ids))]
        self._reading.append(work)

    def collect(self) -> Batch:
        """The batch that was submitted first. Raises BadSample or DavidError where it can't be had."""
        while self._reading and len(self._decoding) < decode.AHEAD:
            self._decode(self._reading.popleft())
        work = self._decoding.popleft()
        with self.stages.time("decode"):
            outputs = self._outputs(work)
        with self.stages.time("augment"):
            fields = self._finish(work, outputs)
        self._graph.release_outputs()
        device = fields["image"].device
        numbers = {name: value.to(device) for name, value in _numbers(work, self.size).items()}
        return Batch(**fields, **numbers)

    def close(self) -> None:
        """Drop what is under way and end the threads."""
        self._pool.shutdown(cancel_futures=True)
        del self._graph

    def _read(self, work: Work, slot: int) -> Prepared:
        with self.stages.time("read"):
            encoded = self.reader.read(int(work.places.ids[slot]))
        if not self.resize and (encoded.height, encoded.width) != self.size:
            raise BadSample(
                encoded.where,
                f"is {encoded.height} x {encoded.width}, the split's first sample {self.size[0]} x {self.size[1]}; "
                "give the data a height and a width",
            )
        return Prepared(encoded, self._prepare(work, encoded, slot))

    def _decode(self, work: Work) -> None:
        with self.stages.time("planes"):
            work.prepared = [future.result() for future in work.preparing]
        for name in work.prepared[0].inputs:
            self._graph.feed_input(name, [prepared.inputs[name] for prepared in work.prepared])
        self._graph.schedule_run()
        self._decoding.append(work)

    def _outputs(self, work: Work) -> Sequence[Any]:
        try:
            return self._graph.share_outputs()
        except RuntimeError as error:
            raise _named(work, error) from error


def _named(work: Work, error: RuntimeError) -> DavidError:
    """DALI's error, with the sample that it is about."""
    found = re.search(r"sample #(\d+)", str(error))
    for slot, (encoded, _) in enumerate(work.prepared):
        try:
            codecs.decode_rgb(encoded.rgb)
            readable = True
        except DavidError:
            readable = False
        if not readable or (found and int(found[1]) == slot):
            return BadSample(encoded.where, "its image can't be decoded; `david verify` finds the damaged shards")
    return DavidError(f"DALI failed on a batch that begins with {work.prepared[0].encoded.where}: {error}")


def _numbers(work: Work, size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """The fields of a batch that are no images."""
    samples = [prepared.encoded for prepared in work.prepared]
    unknown = np.full((3, 3), np.nan)
    intrinsics = np.stack([unknown if one.intrinsics is None else one.intrinsics for one in samples])
    scale = np.array([(size[1] / one.width, size[0] / one.height) for one in samples])
    return {
        "intrinsics": torch.from_numpy(augment.move_intrinsics(intrinsics, scale, work.draws.flip, size[1])),
        "depth_offset_cm": torch.tensor([one.depth_offset_cm for one in samples], dtype=torch.float32),
        "depth_scale_cm": torch.tensor([one.depth_scale_cm for one in samples], dtype=torch.float32),
        "ids": torch.from_numpy(work.places.ids),
        "epochs": torch.from_numpy(work.places.epochs),
        "real": torch.from_numpy(work.places.real),
    }
