"""What is measured, or begun with: the weights of a run, of a checkpoint, or in a file, and what they are of.

Found without torch: a name that leads nowhere is told at once.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from david.model import label, readable
from david.model.config import configure
from david.model.configs.base import ModelConfig
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.train import recipe as recipes
from david.train import run, shelf, trees
from david.train.metrics.best import best_step
from david.train.recipe import Precision, Recipe

if TYPE_CHECKING:
    from david.model import Network


@dataclass(frozen=True)
class Subject:
    """What is measured. name: for people; folder: where its evaluations go; source: the file of its weights; model:
    what they are the weights of, None where the file says so itself; published: whether they are under their authors'
    names; data: how images reach it; precision: what it
    computes in, as recipes name it"""

    name: str
    folder: Path
    source: Path
    model: ModelConfig | None
    data: DataConfig
    precision: str = "auto"
    published: bool = False

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise DavidError(f"precision {self.precision}: there are {', '.join(get_args(Precision))}")

    def network(self) -> "Network":
        from safetensors.torch import load_file

        from david.model import build, weights

        if self.model and self.published:
            return weights.load_others(self.source, self.model)
        if self.model is None:
            return weights.load(self.source)
        network = build(self.model)
        try:
            network.load_state_dict(load_file(self.source))
        except RuntimeError as error:  # its message has a line for each tensor
            raise DavidError(f"{self.source}: not the weights of the network that its recipe describes") from error
        return network.eval()

    def heads(self) -> tuple[str, ...] | None:
        """The network's heads, as its file or its recipe says; None where neither does."""
        said = self.about().get("model", {}).get("heads")
        return tuple(said) if said else None

    def about(self) -> dict[str, Any]:
        """What is known of what made it, as JSON: its configuration as `model`, and its recipe where it has one."""
        said = label.read(self.source) or {} if not self.published else {}
        recipe = recipe_of(self.source)
        model = {"model": asdict(self.model)} if self.model else {}
        return {**model, **({"recipe": asdict(recipe)} if recipe else {}), **said}


def of_path(path: Path, model: ModelConfig | None = None) -> Subject:
    """A file of weights, ours, a checkpoint's or another implementation's, a checkpoint's folder, or a run's: images
    reach it as its recipe says, if it has one.

    model: of a file that does not say what it is, by default the unofficial implementation of DAViD; it may stand
    behind the path too, `FILE@da2-vitl-metric,max_depth=20`. Raises DavidError where there are no weights."""
    if model is None and not path.exists():
        path, model = told(path)
    file = file_of(path)
    pickled = readable.is_pickled(file)
    if pickled or (model is not None and file.suffix == ".safetensors" and label.read(file) is None):
        model = model or configure("unofficial")
        return Subject(path.name, file.with_suffix(""), file, model, DataConfig(), published=True)
    if model is not None:
        raise DavidError(f"{path}: says itself what it is the weights of; leave out the kind, `{model.kind}`")
    recipe = recipe_of(file)
    inside = (file.parent / shelf.STATE).is_file()  # which goes when newer ones come
    folder = file.parent.parent.parent / file.parent.name if inside else file.with_suffix("")
    labelled = label.read(file) is not None
    if recipe is None:
        return Subject(path.name, folder, file, None, DataConfig())
    return Subject(path.name, folder, file, None if labelled else recipe.model, recipe.data, recipe.precision)


def told(path: Path) -> tuple[Path, ModelConfig | None]:
    """A file and what it is the weights of, out of `FILE@KIND` or `FILE@KIND,FIELD=VALUE`. Raises DavidError for a kind
    that is none."""
    before, at, words = str(path).rpartition("@")
    if not at or not before or not Path(before).is_file():
        return path, None
    name, *assignments = re.split(r",(?=\w+=)", words)
    return Path(before), published(name, assignments)


def published(name: str, assignments: Sequence[str] = (), **changes: Any) -> ModelConfig:
    """The configuration of a file that does not say what it is. assignments: `field=value` texts; changes: the same as
    values. Raises DavidError for a name or a field that is none, and where metric depth is meant and nobody says how
    far it reaches: nothing in a file does."""
    model = configure(name)
    asked = {one.partition("=")[0] for one in assignments} | set(changes)
    if unknown := asked - {field.name for field in fields(model)}:
        raise DavidError(f"{name}: its configuration has no {', '.join(sorted(unknown))}")
    if model.heads == ("metric_depth",) and "max_depth" not in asked:
        raise DavidError(
            f"{name}: tell max_depth, which no file says: 20 metres for rooms (Hypersim) and 80 for streets (VKITTI2) "
            "of Depth Anything V2, 10 for NYU and 80 for KITTI of ZoeDepth"
        )
    return trees.override(type(model), trees.to_json(replace(model, **changes)), assignments, {})


def of_run(folder: Path, which: str) -> Subject:
    """A checkpoint of a run: `newest`, `best`, or a step. Raises DavidError where it is not there or not whole."""
    recipe, checkpoints = run.trained(folder).recipe, folder / "checkpoints"
    if which == "newest":
        step, _ = shelf.newest_whole(checkpoints)
    elif which == "best":
        step = best_step(folder / "metrics.jsonl", recipe.best) if recipe.best else None
        if step is None:
            raise DavidError(
                f"{folder}: no best checkpoint (the recipe's best is {recipe.best}); train with --set best="
            )
    elif which.isdecimal():
        step = int(which)
    else:
        raise DavidError(f"--checkpoint {which}: give a step, `newest` or `best`")
    path, there = shelf.path_of(checkpoints, step), shelf.steps(checkpoints)
    if not there:
        raise DavidError(f"{folder}: no checkpoint there yet; the run saves its first when it ends or is stopped")
    if not path.is_dir():
        raise DavidError(f"{folder}: no checkpoint of step {step}; there are {', '.join(map(str, there))}")
    name = f"{recipe.name} after step {step}"
    return Subject(name, folder, whole(path), recipe.model, recipe.data, recipe.precision)


def file_of(path: Path) -> Path:
    """The weights in a run's folder (its newest checkpoint's), in a checkpoint's folder, or the file itself."""
    if (path / shelf.MODEL).is_file():
        return whole(path)
    if path.is_dir():
        return of_run(path, "newest").source
    if not path.is_file():
        raise DavidError(f"{path}: no such file or folder; expected weights, a checkpoint or a run")
    return path


def whole(path: Path) -> Path:
    """The file of the weights in a checkpoint's folder. Raises DavidError where that is damaged."""
    if fault := shelf.damage(path):
        there = ", ".join(map(str, shelf.steps(path.parent)))
        raise DavidError(f"{path}: damaged ({fault}); there are {there}")
    return shelf.weights_of(path)


def recipe_of(file: Path) -> Recipe | None:
    """The recipe that a file of weights was trained by: as it says itself, else as its checkpoint does, else None."""
    state = file.with_name(shelf.STATE)
    about = label.read(file) if file.suffix == ".safetensors" else None
    try:
        if about is None and state.is_file():
            about = json.loads(state.read_bytes())
        return recipes.from_json(about["recipe"]) if about and "recipe" in about else None
    except (ValueError, TypeError) as error:
        raise DavidError(f"{file}: its recipe cannot be read ({error})") from error
