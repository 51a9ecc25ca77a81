"""A set of many samples that is a manifest alone: the product's reader, order and draws run on it as on a real one.

Legend: S samples, B of a global batch.
"""

import math
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from david.pack.shards.manifest import Manifest, Shard
from david.pipeline.config import DataConfig
from david.pipeline.reading.reader import Reader
from david.pipeline.sampling import draws, order
from david.pipeline.sampling.order import Order

SAMPLE_BYTES = 489_523  # of the newest row of loaders, on real samples
KINDS = 3  # faces, full bodies, upper bodies: stored one after the other, a third each
BATCHES = 16  # that an entropy is the mean over
STEPS = 8  # that the time of one is the mean over


@dataclass(frozen=True)
class Scale:
    """samples: of the set, in whole shards of shard_samples; ranks: of all nodes; each: samples of a batch for each"""

    samples: int
    shard_samples: int
    ranks: int
    each: int = 32

    @property
    def batch_size(self) -> int:
        return self.ranks * self.each

    @property
    def shard_bytes(self) -> int:
        return self.shard_samples * SAMPLE_BYTES

    @property
    def counts(self) -> list[int]:
        """Samples of each shard."""
        return [self.shard_samples] * (self.samples // self.shard_samples)

    def write(self, folder: Path) -> None:
        """Its manifest, without shards."""
        shards = (
            Shard(f"train-{number:07}", samples, self.shard_bytes, f"{number:064x}", "0" * 64)
            for number, samples in enumerate(self.counts)
        )
        Manifest(folder, {"image": "jpeg", "compression": "lz4"}, {"train": tuple(shards)}).write()


def first_batch(folder: Path, scale: Scale, config: DataConfig) -> dict[str, Any]:
    """What the last rank does from the manifest on until it knows its samples of a step far into a run, how they are
    augmented, and the shards that the step needs; and what the order of each later step takes."""
    begun = time.process_time()
    reader, its, start, shards = begin(folder, scale, config)
    spent_s = time.process_time() - begun
    reader.close()
    begun = time.process_time()
    for step in range(start + 1, start + 1 + STEPS):
        its.batch(step)
    step_ms = 1e3 * (time.process_time() - begun) / STEPS
    tracemalloc.start()  # NumPy's memory is counted too
    try:
        held = begin(folder, scale, config)
        kept, most = tracemalloc.get_traced_memory()
        held[0].close()
    finally:
        tracemalloc.stop()
    return {
        "first": {"unit": "CPU s to know the first samples", "median": spent_s},
        "step": {"unit": "CPU ms for the order of a step", "median": step_ms},
        "kept": {"unit": "MB", "median": kept / 1e6},
        "most": {"unit": "MB at most", "median": most / 1e6},
        "needed": {"unit": "GB of shards for the first step", "median": shards * scale.shard_bytes / 1e9},
    }


def begin(folder: Path, scale: Scale, config: DataConfig) -> tuple[Reader, Order, int, int]:
    """The reader, the order, the step that is begun with, and how many shards that needs. Nothing is known before."""
    for known in (order.permutation, order.blocks):
        known.cache_clear()
    reader = Reader(folder, "train")
    its = order_of(scale, config, reader.counts)
    start = its.batches_per_epoch * 3 // 2
    picks = its.batch(start)
    mine = picks.share(scale.ranks - 1, scale.ranks)
    draws.draw(0, mine.epochs, mine.ids, config.augment)
    return reader, its, start, len(reader.shards_of(picks.ids))


def order_of(scale: Scale, config: DataConfig, counts: list[list[int]] | None = None, train: bool = True) -> Order:
    """counts: as a reader tells them, by default those of the scale"""
    its = config.order(counts or [scale.counts], scale.batch_size, 0, train)
    assert isinstance(its, Order)
    return its


def entropy(scale: Scale, config: DataConfig | None) -> float:
    """Bits of the kinds' entropy in a batch, the mean over batches spread over an epoch, where the samples are stored
    kind by kind: log2(KINDS) at most. config: None for the stored order"""
    its = order_of(scale, config or DataConfig(), train=config is not None)
    steps = np.linspace(0, scale.samples // scale.batch_size - 1, BATCHES).astype(int)
    return float(np.mean([_bits(its.batch(int(step)).ids * KINDS // scale.samples) for step in steps]))


def _bits(kinds: np.ndarray) -> float:
    shares = np.bincount(kinds, minlength=KINDS) / len(kinds)
    return -sum(float(share) * math.log2(share) for share in shares if share)
