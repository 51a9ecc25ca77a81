"""A model of how long it takes to sum gradients over ranks.

A ring passes every byte on 2 (n - 1) times, a part of 1 / n at a time: t = 2 (n - 1) latency + 2 (n - 1) / n bytes /
bandwidth (Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", IJHPCA 2005,
section 4.5). Latency and bandwidth are fitted by least squares of relative errors, for sizes span decades.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np


class Ring(NamedTuple):
    """latency_s: of one of 2 (n - 1) steps; bandwidth: bytes/s of a rank, infinite where it showed in no measurement"""

    latency_s: float
    bandwidth: float

    def seconds(self, ranks: int, size: float) -> float:
        """To sum `size` bytes over so many ranks."""
        steps = 2 * (ranks - 1)
        return steps * self.latency_s + steps / ranks * size / self.bandwidth


class Measured(NamedTuple):
    ranks: int
    size: int
    seconds: float


def fit(measured: list[Measured]) -> Ring:
    """Neither is negative: where one would be, the other says all."""
    ranks, sizes, seconds = (np.array(part, float) for part in zip(*measured, strict=True))
    steps = 2 * (ranks - 1)
    parts = np.stack([steps, steps / ranks * sizes], axis=1) / seconds[:, None]
    found, *_ = np.linalg.lstsq(parts, np.ones(len(seconds)))
    if found.min() < 0:
        kept = int(found.argmax())
        found = np.eye(2)[kept] * (parts[:, kept].sum() / (parts[:, kept] ** 2).sum())
    return Ring(float(found[0]), 1 / float(found[1]) if found[1] else float("inf"))


def errors(ring: Ring, measured: Iterable[Measured]) -> list[float]:
    """Relative, of each measurement."""
    return [abs(ring.seconds(one.ranks, one.size) / one.seconds - 1) for one in measured]


def of_rows(rows: Iterable[dict[str, Any]]) -> list[Measured]:
    """What rows of `david bench reduce` measured."""
    return [
        Measured(row["ranks"], one["bytes"], one["time"]["median"] / 1e3)
        for row in rows
        for one in row["figures"].values()
    ]
