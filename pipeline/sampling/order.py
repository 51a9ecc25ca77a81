"""Which samples a step trains on: a pure function of (samples, batch size, seed, step), computed and not looked up.

An epoch's order is a keyed permutation of the split's positions: a Feistel network over Z_a x Z_b with a b >= samples
and a, b about the square root of it, whose few surplus values are walked past (Black and Rogaway, "Ciphers with
Arbitrary Finite Domains", CT-RSA 2002, the generalised Feistel cipher and cycle walking). Its round functions are
Philox words, tabulated for an epoch: a few times sqrt(samples) numbers, whatever is asked of it.

`Blocks` is for disks and networks that want to read in sequence: it permutes shards, and then samples within a window
of shards. Over 60 shards of 5,000 samples sorted by three kinds, a batch of 96 has 1.17 bits of the kinds' entropy with
windows of 4 shards, 1.42 with 8, 1.49 with 16, and 1.57 with the full permutation, of 1.585. That is the worst case:
packing has permuted the whole set already, so the samples of a shard are no more alike than any others.

Nothing here knows of ranks but `Picks.share`: each takes its slice of the same global batch.

Legend: B samples of a global batch.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Literal, NamedTuple

import numpy as np

from david.pack.errors import DavidError
from david.pipeline.sampling.philox import words

LastBatch = Literal["drop", "pad"]
Shuffle = Literal["full", "blocks"]
PURPOSE = 0  # the part of the Philox counter that keeps these words apart from the augmentations'
PURPOSE_BLOCKS = 2
ROUNDS = 8
MOST_SAMPLES = 2**32


class Picks(NamedTuple):
    """Which samples a batch has.

    ids: (B,) int64, positions in the split; epochs: (B,) int64; real: (B,) bool, False for copies that fill up"""

    ids: np.ndarray
    epochs: np.ndarray
    real: np.ndarray

    def share(self, rank: int, world_size: int) -> "Picks":
        """The contiguous slice of this rank. Raises DavidError where the ranks cannot share equally."""
        size, rest = divmod(len(self.ids), world_size)
        if rest:
            raise DavidError(
                f"a global batch of {len(self.ids)} can't be shared by {world_size} ranks; "
                f"choose a multiple of {world_size}"
            )
        return Picks(*(part[rank * size : (rank + 1) * size] for part in self))


@dataclass(frozen=True)
class Permutation:
    """A bijection of 0 .. samples - 1.

    a, b: the sizes of the halves; a position is x = left * b + right
    rounds: tables of shape (b,), (a,), (b,), ... what each half adds to the other, in turns
    """

    samples: int
    a: int
    b: int
    rounds: tuple[np.ndarray, ...]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """(...) int64 positions to (...) int64 sample ids."""
        ids = self._encipher(positions)
        while (outside := ids >= self.samples).any():
            ids[outside] = self._encipher(ids[outside])
        return ids

    def _encipher(self, x: np.ndarray) -> np.ndarray:
        left, right = np.divmod(x, self.b)
        for to_left, to_right in zip(self.rounds[::2], self.rounds[1::2], strict=True):
            left = (left + to_left[right]) % self.a
            right = (right + to_right[left]) % self.b
        return left * self.b + right


@lru_cache(maxsize=64)
def permutation(samples: int, seed: int, epoch: int, purpose: int = PURPOSE, part: int = 0) -> Permutation:
    """The order of one epoch. samples: 1 .. 2**32; seed: 0 .. 2**64 - 1; epoch: 0 .. 2**32 - 1; purpose, part: which
    of several orders of the same seed and epoch."""
    a = isqrt(samples - 1) + 1
    b = -(-samples // a)
    values = np.arange(max(a, b))
    blocks = range(part * ROUNDS // 4, (part + 1) * ROUNDS // 4)
    table = np.concatenate([words(seed, values, block, epoch, purpose) for block in blocks], axis=1)
    sizes = [(b, a) if turn % 2 == 0 else (a, b) for turn in range(ROUNDS)]
    rounds = tuple(table[:seen, turn].astype(np.int64) % added_to for turn, (seen, added_to) in enumerate(sizes))
    return Permutation(samples, a, b, rounds)


class Blocks(NamedTuple):
    """The order of one epoch by windows of shards.

    starts: (K,) int64, position in the split of each shard's first sample, in the epoch's order of shards
    ends: (K,) int64, how many samples that order holds up to and with each shard
    window: shards that are mixed at a time; seed, epoch: of the order
    """

    starts: np.ndarray
    ends: np.ndarray
    window: int
    seed: int
    epoch: int

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """(...) int64 positions to (...) int64 sample ids."""
        edges = self.ends[self.window - 1 :: self.window]
        windows = np.searchsorted(edges, positions, side="right")
        ids = np.empty_like(positions)
        for number in np.unique(windows).tolist():
            first = int(edges[number - 1]) if number else 0
            last = int(edges[number]) if number < len(edges) else int(self.ends[-1])
            mixed = permutation(last - first, self.seed, self.epoch, PURPOSE_BLOCKS, number + 1)
            inside = windows == number
            places = first + mixed(positions[inside] - first)
            shards = np.searchsorted(self.ends, places, side="right")
            before = np.where(shards > 0, self.ends[shards - 1], 0)
            ids[inside] = self.starts[shards] + places - before
        return ids


@lru_cache(maxsize=32)
def blocks(shards: tuple[int, ...], window: int, seed: int, epoch: int) -> Blocks:
    """The order of one epoch by windows. shards: samples of each, none empty."""
    sizes = np.array(shards, np.int64)
    turns = permutation(len(shards), seed, epoch, PURPOSE_BLOCKS)(np.arange(len(shards)))
    return Blocks((np.cumsum(sizes) - sizes)[turns], np.cumsum(sizes[turns]), window, seed, epoch)


@dataclass(frozen=True)
class Order:
    """The steps of a run over one split. batch_size: global, over all ranks; last_batch: `drop` leaves out the samples
    that do not fill a batch at an epoch's end, `pad` fills it up with the epoch's first samples, marked as not real.
    shards, window: samples of each shard, and how many shards are mixed at a time, for an order by `Blocks`.

    Raises DavidError where an epoch would hold no batch."""

    samples: int
    batch_size: int
    seed: int
    shuffle: bool
    last_batch: LastBatch
    shards: tuple[int, ...] = ()
    window: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DavidError(f"a batch of {self.batch_size} samples is none; choose at least 1")
        if not 0 <= self.seed < 2**64:
            raise DavidError(f"seed {self.seed} is not in 0 .. 2**64 - 1; choose another")
        if not 0 < self.samples <= MOST_SAMPLES:
            raise DavidError(f"a split of {self.samples} samples has no order; 1 to {MOST_SAMPLES} can be ordered")
        if self.last_batch == "drop" and self.batch_size > self.samples:
            raise DavidError(
                f"a batch of {self.batch_size} samples is more than the {self.samples} of the split; "
                "choose a smaller batch, or last_batch=pad"
            )

    @property
    def batches_per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole + (self.last_batch == "pad" and rest > 0)

    def permuted(self, epoch: int) -> Permutation | Blocks:
        """The order of one epoch: positions to sample ids."""
        if self.window:
            return blocks(self.shards, self.window, self.seed, epoch)
        return permutation(self.samples, self.seed, epoch)

    def batch(self, step: int) -> Picks:
        """The global batch of a step, counted from 0 over all epochs."""
        epoch, index = divmod(step, self.batches_per_epoch)
        positions = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        ids = positions % self.samples
        if self.shuffle:
            ids = self.permuted(epoch)(ids)
        return Picks(ids, np.full(len(ids), epoch), positions < self.samples)
