"""The weights that a run begins with: noise, and over it a pretrained backbone or another network's weights."""

import os
from dataclasses import dataclass
from pathlib import Path

from david.model import Network, weights
from david.pack.errors import DavidError
from david.train import checkpoint, run
from david.train.eval.measure import of_run
from david.train.recipe import Recipe


@dataclass(frozen=True)
class Start:
    """network: a run's folder, a checkpoint's, or a file of weights to go on from, in place of a pretrained backbone
    backbone: a file for the backbone, in place of timm's hub"""

    network: Path | None = None
    backbone: Path | None = None

    def __post_init__(self) -> None:
        if self.network and self.backbone:
            raise DavidError("--from and --backbone-weights: give one of the two; --from brings a backbone along")

    def named(self) -> list[str | None]:
        """What a run that begins so is told apart by: the absolute paths."""
        return [os.path.abspath(path) if path else None for path in (self.network, self.backbone)]

    def recipe(self) -> Recipe | None:
        """The recipe of the run that it goes on from; None where that is no run's folder."""
        found = run.stored(self.network) if self.network and (self.network / run.RECIPE).is_file() else None
        return found.recipe if found else None

    def check(self) -> None:
        """Raise DavidError where what to begin with is not there."""
        for option, path in (("--from", self.network), ("--backbone-weights", self.backbone)):
            if path and not path.exists():
                raise DavidError(f"{option} {path}: no such file or folder")

    def fill(self, network: Network, recipe: Recipe) -> list[str]:
        """Fill a network that has been drawn; what was found where, for people."""
        if self.network:
            return [str(weights.load_whole(network, file_of(self.network)))]
        if self.backbone or recipe.pretrained:
            return [str(weights.load_backbone(network, self.backbone))]
        return []


PRETRAINED = Start()  # or not: as the recipe says


def file_of(path: Path) -> Path:
    """The weights in a run's folder (its newest checkpoint's), in a checkpoint's folder, or the file itself."""
    if (path / checkpoint.MODEL).is_file():
        return checkpoint.weights_of(path)
    return of_run(path, "newest").source if path.is_dir() else path
