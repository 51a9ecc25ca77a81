"""Settings that change how fast a run is and not what it computes, as `david bench tune` finds them.

Threads and prefetch decide on nothing else. `micro_batch`, `compile` and where a GPU's batches are decoded may change
how results are rounded: a run keeps those that it began with, and its folder is named without them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch

from david.pack import tuned as files
from david.pack.errors import DavidError
from david.pack.tuned import Tuned
from david.train import recipe as recipes
from david.train import run
from david.train.recipe import Recipe
from david.train.trees import flat

AT_WILL = ("data.threads", "data.prefetch")
ROUNDING = ("data.decode", "micro_batch", "compile")
# What may differ from the recipe that was tuned, for a step has as much to do with any: besides these, learning rates.
ALIKE = (*run.FREE, "name", "steps", "seed", "pretrained")
WORK = ("optim.frozen_backbone", "optim.ema")  # of the optimiser's fields, which are rates and schedules else


@dataclass(frozen=True)
class Place:
    """Where a run is to be: on so many ranks, on `cpu` or `cuda`, on shards of this fingerprint."""

    ranks: int
    device: torch.device
    shards: str


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """What a recipe says of all that can be tuned, by path."""
    said = flat(recipes.to_json(recipe))
    return {path: said[path] for path in (*AT_WILL, *ROUNDING)}


def with_settings(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """Raises DavidError where a value does not fit."""
    return recipes.override(recipe, [f"{path}={files.shown(value)}" for path, value in settings.items()])


def applied(
    tuned: Tuned, recipe: Recipe, given: Collection[str], begun: Recipe | None, place: Place
) -> tuple[Recipe, str]:
    """The recipe with the file's settings, and what became of them in one line.

    given: the paths that the command line sets, which win; begun: the recipe of the run that goes on, which keeps its
    own of what rounds. Raises DavidError where the file is of something else: of what a step computes, or of others
    than `place` says of ranks and device. That shards, machine or versions are others is told."""
    part = tuned.part("train", "--shards SHARDS")
    settings = dict(part["settings"])
    if unknown := settings.keys() - {*AT_WILL, *ROUNDING}:
        raise tuned.unfit(f"`{min(unknown)}` is none of {', '.join((*AT_WILL, *ROUNDING))}")
    refuse(tuned, part, recipe, settings, place)
    own = settings_of(recipe)
    winning = {path: own[path] for path in settings if path in given}
    if begun is not None:
        kept = settings_of(begun)
        winning |= {path: kept[path] for path in settings if path in ROUNDING and path not in given}
    winning = {path: value for path, value in winning.items() if value != settings[path]}
    on_gpu = {"gpu": torch.cuda.get_device_name(place.device)} if place.device.type == "cuda" else {}
    differ = tuned.elsewhere(files.here() | on_gpu)
    if part.get("shards") != place.shards:
        differ.insert(0, f"shards {str(part.get('shards'))[:16]} there, {place.shards[:16]} here")
    try:
        found = with_settings(recipe, {path: value for path, value in settings.items() if path not in winning})
    except DavidError as error:
        raise tuned.unfit(str(error).removeprefix("--set ")) from error
    return with_settings(found, winning), files.sentence(tuned, settings, winning, differ)


def refuse(tuned: Tuned, part: Any, recipe: Recipe, settings: Collection[str], place: Place) -> None:
    """Raise DavidError, with both values, where a step would not be the one that was tuned."""
    if not isinstance(part.get("recipe"), dict):
        raise tuned.unfit("no recipe in its train")
    try:
        before = flat(recipes.to_json(recipes.from_json(part["recipe"])))
    except DavidError as error:
        raise tuned.unfit(str(error)) from error
    now = flat(recipes.to_json(recipe))
    pairs = {path: (before.get(path), value) for path, value in now.items() if not (path in settings or free(path))}
    pairs = {path: pair for path, pair in pairs.items() if not (path == "data.decode" and "auto" in pair)}
    pairs = {"ranks": (part.get("ranks"), place.ranks), "device": (part.get("device"), place.device.type)} | pairs
    for path, (there, here) in pairs.items():
        if there != here:
            raise DavidError(
                f"--tuned {tuned.path}: tuned for {path} = {there}, here it is {here}; tune anew with david bench "
                "tune, or leave --tuned out"
            )


def free(path: str) -> bool:
    return path in ALIKE or (path.startswith("optim.") and path not in WORK)
