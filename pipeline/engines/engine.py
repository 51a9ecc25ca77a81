"""From picked samples to batches: what the CPU's way and the GPU's have in common.

Threads read and prepare samples, of a few batches at once; whoever iterates collects the batches in order.

Legend: B samples of this rank's batch, H rows, W columns.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from david.pack.errors import BadSample
from david.pipeline import trace
from david.pipeline.batch import Batch
from david.pipeline.engines.layout import Ranges
from david.pipeline.reading.reader import Encoded, Reader
from david.pipeline.sampling.draws import Draws
from david.pipeline.sampling.order import Picks
from david.pipeline.sampling.placement import Fit, Placement, cameras, place, points
from david.pipeline.stages import Stages
from david.pipeline.targets import union


class Prepared(NamedTuple):
    """What a thread leaves of a sample beside its pixels.

    where: names it in messages
    placement: of its pixels in the batch; intrinsics: (3, 3) float64 of the sample's image, NaN where unknown
    ranges, pairs: as `Encoded` has them
    rest: what an engine needs to finish it
    """

    where: str
    placement: Placement
    intrinsics: np.ndarray
    ranges: Ranges
    pairs: np.ndarray
    rest: Any = None


class Work:
    """A batch in the making, of which threads take one sample after another.

    number: of the engine's batches, from 0 on
    fields: tensors that its samples are written to, where they are on the CPU"""

    def __init__(self, number: int, picks: Picks, draws: Draws, fields: dict[str, torch.Tensor]):
        self.number = number
        self.picks, self.draws, self.fields = picks, draws, fields
        self.arrays = {name: tensor.numpy() for name, tensor in fields.items()}
        self.recoloured, self.degraded = draws.recoloured().tolist(), draws.degraded().tolist()
        self.ids: list[int] = picks.ids.tolist()
        self.tasks: list[Future[None]] = []
        self._left = iter(range(len(self.ids)))  # each slot goes to one thread
        self._prepared: list[Prepared | None] = [None] * len(self.ids)
        self._failed: list[tuple[int, BaseException]] = []

    def run(self, prepare: Callable[["Work", int], Prepared]) -> None:
        """What each thread does: prepare samples until none is left, or one fails."""
        for slot in self._left:
            try:
                self._prepared[slot] = prepare(self, slot)
            except BaseException as error:  # of a mistake of ours the sample is not in the message
                error.add_note(f"in sample {self.ids[slot]} of the split, epoch {self.picks.epochs[slot]}")
                self._failed.append((slot, error))
                return

    def drop(self) -> None:
        """Prepare no more samples."""
        deque(self._left, maxlen=0)

    def prepared(self) -> list[Prepared]:
        """What all threads left, when all are done. Raises what the first sample raised that could not be had."""
        wait(self.tasks)
        if self._failed:
            raise min(self._failed, key=itemgetter(0))[1]
        return cast(list[Prepared], self._prepared)


class Engine(ABC):
    """Makes batches in the order in which they were submitted. Only one thread may use it.

    size: (H, W) of the batches; fit: how samples of other sizes are placed in them, `own` where there may be none"""

    IN_FLIGHT: int  # batches submitted and not collected

    def __init__(self, reader: Reader, size: tuple[int, int], fit: Fit, threads: int, stages: Stages):
        self.reader, self.size, self.stages = reader, size, stages
        self.fit: Fit = fit
        self.targets = union(reader.sets.tables)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="david-read")
        self._working: deque[Work] = deque()
        self._counted = count()

    @abstractmethod
    def _lend(self) -> dict[str, torch.Tensor]:
        """Memory for the next batch."""

    @abstractmethod
    def _prepare(self, work: Work, slot: int) -> Prepared:
        """Read a sample and do all that can be done on a CPU thread; slot: its place in the batch."""

    @abstractmethod
    def collect(self) -> Batch:
        """The batch that was submitted first. Raises BadSample or DavidError where it can't be had."""

    @abstractmethod
    def handed_over(self) -> None:
        """Called in the thread that takes batches, for each in the order of `collect`, before it is used: what that
        thread's stream computes from now on may use it."""

    @property
    def in_flight(self) -> int:
        return len(self._working)

    def submit(self, picks: Picks, draws: Draws) -> None:
        """Start on a batch."""
        work = Work(next(self._counted), picks, draws, self._lend())
        trace.mark("submit", self.stages, work.number)
        work.tasks = [self._pool.submit(work.run, self._traced) for _ in range(min(self._threads, len(work.ids)))]
        self._working.append(work)

    def _traced(self, work: Work, slot: int) -> Prepared:
        with trace.span("sample", self.stages, work.number):
            return self._prepare(work, slot)

    def close(self) -> None:
        """Drop what is under way and end the threads."""
        for work in self._working:
            work.drop()
        self._pool.shutdown(cancel_futures=True)

    def _place(self, work: Work, slot: int, encoded: Encoded) -> Placement:
        """Of a sample in its batch. Raises BadSample where it must have the batch's size and has another."""
        size = encoded.height, encoded.width
        if self.fit == "own" and size != self.size:
            raise BadSample(
                encoded.where,
                f"is {encoded.height} x {encoded.width}, the split's first sample {self.size[0]} x {self.size[1]}; "
                "give the data a height and a width",
            )
        return place(work.draws, slot, size, self.size, self.fit)


UNKNOWN = np.full((3, 3), np.nan)


def left(encoded: Encoded, placement: Placement, rest: Any = None) -> Prepared:
    """What is kept of a sample whose pixels are placed."""
    camera = UNKNOWN if encoded.intrinsics is None else encoded.intrinsics
    return Prepared(encoded.where, placement, camera, encoded.ranges, encoded.pairs, rest)


NO_RANGE = {"offset_m": 0.0, "scale_m": 1.0}  # where a sample has no depth: nothing is valid, and nothing divides by 0


def numbers(picks: Picks, prepared: list[Prepared], reader: Reader) -> dict[str, torch.Tensor]:
    """The fields of a batch that are no images."""
    placed = cameras([one.placement for one in prepared], np.stack([one.intrinsics for one in prepared]))
    depth = [NO_RANGE | one.ranges.get("depth", {}) for one in prepared]
    return {
        "intrinsics": torch.from_numpy(placed.astype(np.float32)),
        "depth_offset_m": torch.tensor([one["offset_m"] for one in depth], dtype=torch.float32),
        "depth_scale_m": torch.tensor([one["scale_m"] for one in depth], dtype=torch.float32),
        "ids": torch.from_numpy(picks.ids),
        "epochs": torch.from_numpy(picks.epochs),
        "real": torch.from_numpy(picks.real),
        "sets": torch.from_numpy(reader.sets_of(picks.ids)),
        "pairs": torch.from_numpy(points([one.placement for one in prepared], [one.pairs for one in prepared])),
    }
