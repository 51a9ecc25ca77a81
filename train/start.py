"""The weights that a run begins with: noise, and over it a pretrained backbone or another network's weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from david.model import readable
from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.train import recipes, run
from david.train.recipe import Recipe
from david.train.subject import file_of, recipe_of, told

if TYPE_CHECKING:
    from david.model import Network

FOR_PICKLED = "unofficial-finetune"


@dataclass(frozen=True)
class Start:
    """network: a run's folder, a checkpoint's, or a file of weights to go on from, in place of a pretrained backbone;
    behind an official file's name may stand what it is the weights of, see `subject.told`
    backbone: a file for the backbone, in place of timm's hub"""

    network: Path | None = None
    backbone: Path | None = None

    def __post_init__(self) -> None:
        if self.network and self.backbone:
            raise DavidError("--from and --backbone-weights: give one of the two; --from brings a backbone along")

    def found(self) -> tuple[Path | None, ModelConfig | None]:
        """Where the network's weights lie, and of what they are, where that is told."""
        if self.network is None or self.network.exists():
            return self.network, None
        return told(self.network)

    def named(self) -> list[str | None]:
        """What a run that begins so is told apart by: the absolute paths."""
        return [str(path.absolute()) if path else None for path in (self.network, self.backbone)]

    def recipe(self) -> Recipe | None:
        """The recipe of the run that it goes on from, or the one for its kind of file; None where that says nothing of
        one. What a run on a CPU chose for its machine would slow a GPU down, and is chosen anew."""
        path, model = self.found()
        if path is None or model is not None or not path.exists():
            return None
        if readable.is_pickled(path):
            return recipes.recipe(FOR_PICKLED)
        told_there = (path / run.RECIPE).is_file()
        found = run.trained(path).recipe if told_there else recipe_of(file_of(path))
        if found is None:
            return None
        parallel = "auto" if found.parallel == "exact" else found.parallel
        return replace(found, data=replace(found.data, decode="auto"), parallel=parallel)

    def check(self) -> None:
        """Raise DavidError where what to begin with is not there, or by its name no weights."""
        network, _ = self.found()
        for option, path in (("--from", network), ("--backbone-weights", self.backbone)):
            if path and not path.exists():
                raise DavidError(f"{option} {path}: no such file or folder")
        if network and network.is_file():
            readable.as_network(network)
        if self.backbone:
            readable.as_backbone(self.backbone)

    def fill(self, network: "Network", recipe: Recipe) -> list[str]:
        """Fill a network that has been drawn; what was found where, for people."""
        from david.model import weights

        path, model = self.found()
        if path:
            return [str(weights.load_whole(network, file_of(path), model))]
        if self.backbone or recipe.pretrained:
            return [str(weights.load_backbone(network, self.backbone))]
        return []


PRETRAINED = Start()  # or not: as the recipe says
