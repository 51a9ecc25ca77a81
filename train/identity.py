"""Which run a command means: its folder and its recipe."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards
from david.train import recipe as recipes
from david.train.recipe import Recipe
from david.train.run import FREE, stored
from david.train.start import Start


def default_folder(recipe: Recipe, shards: Shards, begin: Start) -> Path:
    """Where a run goes that was given no folder: named by the recipe and by a hash of all that must not change in a
    run, so that the same command finds it again and another one does not.

    Fields that have their default are left out of the hash: a field that a later version adds moves no run."""
    fixed = {path: value for path, value in recipes.identity(recipe).items() if path not in (*FREE, "steps")}
    identity = json.dumps([fixed, sets.load(shards).fingerprint, begin.named()], sort_keys=True)
    return Path("runs") / f"{recipe.name}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def resolve(
    out: Path | None,
    chosen: Recipe | None,
    default: Recipe,
    assignments: list[str],
    steps: int,
    shards: Shards,
    begin: Start,
    fit: bool = False,
) -> tuple[Path, Recipe, bool]:
    """The folder and the recipe that a command means, and whether its `micro_batch` is still to be found.

    The recipe is the chosen one, else that of the run in the folder, else the default; with --set. It is stretched to
    `steps` where it has fewer, and a run that was stretched once stays so. fit: take the `micro_batch` that the run
    found when it began."""
    out = out or default_folder(recipes.override(chosen or default, assignments), shards, begin)
    found = stored(out)
    base = chosen or (found.recipe if found else default)
    if found:
        base = replace(base, steps=max(base.steps, found.recipe.steps))
        base = replace(base, micro_batch=found.recipe.micro_batch) if fit else base
    recipe = recipes.override(base, assignments)
    return out, replace(recipe, steps=max(recipe.steps, steps)), fit and not found
