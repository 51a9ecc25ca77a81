"""Measuring in turns: what is compared runs one after the other, round after round, in one process on one machine.

A shared machine drifts; turns let the drift fall on all alike. Figures are medians over the rounds with their range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

WARM_UP = 2  # batches before the clock starts: threads, buffers, the page cache


@dataclass(frozen=True)
class Figure:
    """One measured quantity over the rounds. unit: of `values`, such as "samples/s" or "share"."""

    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def told(self) -> tuple[str, str]:
        """Median, and range over the rounds, in its unit."""
        kind = ".1%" if self.unit == "share" else ",.1f"
        return f"{self.median:{kind}}", f"{min(self.values):{kind}} to {max(self.values):{kind}}"

    def as_json(self) -> dict[str, object]:
        return {"unit": self.unit, "median": self.median, "least": min(self.values), "most": max(self.values)}


Measured = dict[str, tuple[float, str]]  # quantity -> (value, unit)
Contender = Callable[[], Measured]


def take_turns(
    contenders: dict[str, Contender], rounds: int, told: Callable[[str], None] | None = None
) -> dict[str, dict[str, Figure]]:
    """Run each contender once a round; returns for each its figures: name -> quantity -> Figure.

    contenders: name -> a function that measures once and returns quantity -> (value, unit); told: hears what runs."""
    seen: dict[str, dict[str, list[tuple[float, str]]]] = {name: {} for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            if told:
                told(f"round {number + 1} of {rounds}: {name}")
            for quantity, value in measure().items():
                seen[name].setdefault(quantity, []).append(value)
    return {
        name: {
            quantity: Figure(values[0][1], tuple(value for value, _ in values))
            for quantity, values in quantities.items()
        }
        for name, quantities in seen.items()
    }


def finish(device: torch.device) -> None:
    """Wait for what the device still does, so that the clock is read when it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
