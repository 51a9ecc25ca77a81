"""Batches for training and validation: shards in, `Batch` out, in an order that only set, seed and step decide.

For each step `order` says which samples and `draws` how each is augmented; an engine (`cpu.py`, `cpu_to_gpu.py`,
`gpu.py`) reads, decodes and augments them. One thread runs ahead of the trainer by a bounded number of batches. The
state is one number: a loader that starts at step n gives what another gives after n batches, bit for bit, whatever the
ranks.
"""

import hashlib
import json
import weakref
from collections.abc import Iterable, Iterator
from itertools import count
from time import perf_counter
from typing import Any

import torch

from david.pack import machine
from david.pack.errors import DavidError
from david.pipeline.ahead import Ahead
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.engines import dali_graph
from david.pipeline.engines.cpu import CpuEngine
from david.pipeline.engines.cpu_to_gpu import CpuToGpuEngine
from david.pipeline.engines.engine import Engine
from david.pipeline.engines.gpu import GpuEngine
from david.pipeline.engines.streams import Cuda
from david.pipeline.reading.prefetch import Prefetch, prefetch
from david.pipeline.reading.reader import Reader
from david.pipeline.reading.sets import Shards
from david.pipeline.sampling import draws
from david.pipeline.sampling.mixture import Mixture
from david.pipeline.sampling.order import Order
from david.pipeline.sampling.placement import Fit
from david.pipeline.stages import Stages


class Loader:
    """An iterator over this rank's batches; a context manager that ends its threads.

    shards: the folder of a shard set, a text or a Path, or several, which may differ in fields, sizes and codecs
    split: as the sets call it, such as `train`
    batch_size: global, over all ranks; start: the first step
    train: endless, shuffled and augmented; otherwise one pass in stored order, each sample once, the last batch padded
    device: where batches are delivered, `cpu` or a CUDA device; `config.decode` says where they are made

    `state` is the step to come, for any loader of the same `fingerprint` (`earlier`: as it was called before one told
    where batches are decoded); `wait_s` is how long the last batch was
    waited for; `stages` tells where the time goes; `batches_per_epoch` is None for a mixture by weights, where each set
    has its own epochs. Raises DavidError where batches can't be had: from the constructor, or from `next`."""

    def __init__(
        self,
        shards: Shards,
        split: str,
        config: DataConfig,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
        start: int = 0,
        train: bool = True,
    ):
        reader = Reader(shards, split)
        order = config.order(reader.counts, batch_size, seed, train)
        self.samples = order.samples
        self.batches_per_epoch = order.batches_per_epoch if isinstance(order, Order) else None
        device = torch.device(device)
        by_dali = config.decode == "gpu" and train
        content = [reader.sets.fingerprint, split, seed, batch_size, train, config.content()]
        self.earlier = self.fingerprint = _hash(content)
        if by_dali:
            self.fingerprint = _hash([*content, {"decode": "gpu", "hw_decoder_load": dali_graph.HARDWARE_LOAD}])
        self.state, self.wait_s, self.stages = start, 0.0, Stages()

        share = len(order.batch(start).share(rank, world_size).ids)
        threads = config.threads or cores(world_size)
        self._engine = engine = _engine(reader, config, share, threads, device, by_dali, self.stages)
        steps = count(start) if train or not self.batches_per_epoch else range(start, self.batches_per_epoch)
        bringing = prefetch(reader, order, config, start, train)
        batches = _batches(steps, order, rank, world_size, config if train else None, engine, bringing)
        self._ahead = Ahead(batches, config.prefetch, self.stages)
        self._finalizer = weakref.finalize(self, _close, self._ahead, engine, reader, bringing)

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        begun = perf_counter()
        batch = next(self._ahead)
        self.wait_s = perf_counter() - begun
        self.stages.add(("wait", self.wait_s))
        self._engine.handed_over()
        self.state += 1
        return batch

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all threads and free the memory of batches under way; those delivered stay whole."""
        self._finalizer()


def _batches(
    steps: Iterable[int],
    order: Order | Mixture,
    rank: int,
    world_size: int,
    config: DataConfig | None,
    engine: Engine,
    bringing: Prefetch | None,
) -> Iterator[Batch]:
    """This rank's slices of the global batches, a few of them under way at once. Without a config: not augmented."""
    for step in steps:
        if bringing:
            bringing.reached(step - engine.in_flight)
        picks = order.batch(step).share(rank, world_size)
        drawn = (
            draws.draw(order.seed, picks.epochs, picks.ids, config.augment) if config else draws.none(len(picks.ids))
        )
        engine.submit(picks, drawn)
        if engine.in_flight == engine.IN_FLIGHT:
            yield engine.collect()
    while engine.in_flight:
        yield engine.collect()


def cores(ranks: int) -> int:
    """The processor cores of this machine for each of its ranks: as many as it has GPUs, or all where it has none."""
    here = min(ranks, torch.cuda.device_count() or ranks)
    return max(1, machine.cores() // here)


def _hash(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _engine(
    reader: Reader,
    config: DataConfig,
    batch_size: int,
    threads: int,
    device: torch.device,
    by_dali: bool,
    stages: Stages,
) -> Engine:
    fit: Fit
    if config.height is not None and config.width is not None:
        size, fit = (config.height, config.width), config.fit
    else:
        first = reader.read(0)
        size, fit = (first.height, first.width), "own"
    if device.type == "cpu" and by_dali:
        raise DavidError("data.decode is `gpu`, and batches are made for the CPU here; take `auto` or `cpu`")
    if device.type == "cpu":
        return CpuEngine(reader, size, fit, batch_size, threads, stages)
    if device.type == "cuda" and torch.cuda.is_available():
        index = torch.cuda.current_device() if device.index is None else device.index
        there = torch.device("cuda", index)
        if by_dali:
            return GpuEngine(reader, size, fit, batch_size, threads, there, stages)
        return CpuToGpuEngine(reader, size, fit, batch_size, threads, stages, Cuda(there))
    raise DavidError(f"batches can't be made on device `{device}` here; use `cpu`, or `cuda` where there is a GPU")


def _close(ahead: Ahead[Batch], engine: Engine, reader: Reader, bringing: Prefetch | None) -> None:
    reader.stop()
    if bringing:
        bringing.close()
    ahead.close()
    engine.close()
    reader.close()
