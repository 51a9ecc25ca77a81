"""Counts in fixed bins: what workers see adds up to the same figures whatever the number of workers."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass
class Histogram:
    """Values counted between `edges` (ascending; what lies outside counts in the outer bins), with the exact extremes.

    counts: (len(edges) - 1,) int64
    """

    edges: np.ndarray
    counts: np.ndarray
    least: float = np.inf
    most: float = -np.inf

    @classmethod
    def between(cls, low: float, high: float, bins: int = 64, log: bool = False) -> "Histogram":
        edges = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
        return cls(edges, np.zeros(bins, np.int64))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Histogram":
        """Raises ValueError, KeyError, TypeError or OverflowError where it is none."""
        counts, edges = np.array(content["counts"], np.int64), np.array(content["edges"], np.float64)
        if counts.ndim != 1 or edges.shape != (len(counts) + 1,) or (counts < 0).any() or (np.diff(edges) <= 0).any():
            raise ValueError("counts and edges of a histogram do not agree")
        seen = bool(counts.any())
        least, most = (float(content["least"]), float(content["most"])) if seen else (np.inf, -np.inf)
        return cls(edges, counts, least, most)

    def as_json(self) -> dict[str, Any]:
        seen = bool(self.counts.any())
        return {
            "edges": [float(f"{edge:.6g}") for edge in self.edges],
            "counts": self.counts.tolist(),
            "least": self.least if seen else None,
            "most": self.most if seen else None,
        }

    def add(self, values: np.ndarray | float) -> None:
        values = np.asarray(values, np.float64).ravel()
        if values.size:
            bins = np.searchsorted(self.edges[1:-1], values, side="right")
            self.counts += np.bincount(bins, minlength=len(self.counts))
            self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))

    def add_levels(self, levels: np.ndarray) -> None:
        """As `add`, at a tenth of the time, for whole numbers that are each a bin of their own: 0 .. bins - 1."""
        self.counts += np.bincount(levels.ravel(), minlength=len(self.counts))
        self.least, self.most = min(self.least, float(levels.min())), max(self.most, float(levels.max()))

    def merge(self, other: "Histogram") -> None:
        self.counts += other.counts
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)

    def copy(self) -> "Histogram":
        return replace(self, counts=self.counts.copy())

    def scaled(self, factor: float) -> "Histogram":
        """The same values in another unit: each times `factor`, above 0."""
        return replace(self, edges=self.edges * factor, least=self.least * factor, most=self.most * factor)

    def quantile(self, share: float) -> float:
        """As `np.quantile(values, share)`, off by a bin's width at most; exact at both ends, and where each bin holds
        one whole number. NaN when empty."""
        total = int(self.counts.sum())
        if not total:
            return float("nan")
        rank = share * (total - 1)
        below, above = self._at(math.floor(rank)), self._at(math.ceil(rank))
        return below + (above - below) * (rank % 1)

    def _at(self, rank: int) -> float:
        """About the value at this place, from 0 on, of all values in order: those of a bin are taken as spread evenly
        over it, as far as the extremes allow."""
        upto = np.cumsum(self.counts)
        if rank == 0:
            return self.least
        if rank == upto[-1] - 1:
            return self.most
        place = int(np.searchsorted(upto, rank, side="right"))
        low, high = float(self.edges[place]), float(self.edges[place + 1])
        if np.array_equal(self.edges, np.arange(len(self.edges))):
            return low
        low = self.least if place == 0 else max(low, self.least)
        high = self.most if place == len(self.counts) - 1 else min(high, self.most)
        inside = rank - (int(upto[place]) - int(self.counts[place])) + 0.5
        return low + (high - low) * inside / int(self.counts[place])
