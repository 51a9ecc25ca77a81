"""What a part is given in its process: where the data lies, what to compute on, how long it may take."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch

from david.pack.errors import DavidError
from david.train import recipes
from david.train.recipe import Recipe, override

MOST_STEPS = 30  # of a measurement: more do not make its median steadier


@dataclass(frozen=True)
class Given:
    """folder: the campaign's, with `data` drawn in it; shards: what is measured on, where not that
    device: `cpu` or `cuda`; until: the end of its time, by `time.time`
    asked: the device as the command line named it, such as `auto`"""

    folder: str
    shards: str | None
    device: str
    until: float
    asked: str = "auto"

    @property
    def raw(self) -> Path:
        return Path(self.folder, "data", "raw")

    @property
    def drawn(self) -> Path:
        return Path(self.folder, "data", "shards")

    @property
    def set(self) -> Path:
        """The shard set to measure on. Raises DavidError where it is to be drawn and is not there."""
        if self.shards:
            return Path(self.shards)
        if not (self.drawn / "dataset.json").exists():
            raise DavidError(f"{self.drawn}: no shard set was drawn there; the part `data` makes it")
        return self.drawn

    def left_s(self) -> float:
        return max(0.0, self.until - time.time())

    def repeats(self, once_s: float, share: float) -> int:
        """How often a thing that takes `once_s` is done in a share of the time that is left; 2 at least."""
        return max(2, min(MOST_STEPS, int(share * self.left_s() / max(once_s, 1e-6))))


def resolved(recipe: str, settings: list[str]) -> Recipe:
    return override(recipes.recipe(recipe), settings)


def most_memory_gb(device: torch.device) -> float:
    """Of the device's at most since its peak was reset; on a CPU, of this process at most since it began."""
    from david.train.record.memory import peak_gb

    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else peak_gb()["memory_gb"]


def figure(value: float, unit: str) -> dict[str, object]:
    """One measurement, as rows have the figures of several."""
    return {"unit": unit, "median": value, "least": value, "most": value}
