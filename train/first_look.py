"""What can be refused by looking at names and paths alone, before torch and timm are loaded, which takes seconds.

Each command looks here first; what is found later is looked for again by whoever needs it.
"""

from collections.abc import Sequence
from pathlib import Path

from david.pack.errors import DavidError
from david.pipeline.reading import sets
from david.train import run
from david.train.recipe import Recipe, override
from david.train.recipes import recipe


def before_training(
    chosen: Recipe | None,
    assignments: list[str],
    shards: Sequence[str],
    start: Path | None,
    backbone: Path | None,
    out: Path | None,
) -> None:
    """Raise DavidError where `david train` can't begin: no shards, no such field, no weights to begin with."""
    at_shards(shards)
    if out and run.stored(out):  # it goes on: the recipe is the run's, and what it began with may be gone
        return
    for option, path in (("--from", start), ("--backbone-weights", backbone)):
        if path and not path.exists():
            raise DavidError(f"{option} {path}: no such file or folder")
    if chosen or start is None:  # else the recipe is that of another run
        resolved = override(chosen or recipe("smoke"), assignments)
        if here := folders(shards):
            run.check(resolved, here, None, 1)


def at_shards(shards: Sequence[str]) -> None:
    """Raise DavidError where a folder is no shard set; addresses are looked at when they are opened."""
    if here := folders(shards):
        sets.load(here)


def folders(shards: Sequence[str]) -> list[Path]:
    return [Path(name) for name in shards if "://" not in name]


def at_run(folder: Path) -> None:
    """Raise DavidError where a folder holds no run."""
    run.trained(folder)


def before_evaluating(run: Path | None, weights: Path | None, shards: Sequence[str] | None) -> None:
    """Raise DavidError where `david eval` has nothing to measure, or nothing to measure on."""
    if run:
        at_run(run)
    if weights and not weights.exists():
        raise DavidError(f"--weights {weights}: no such file or folder")
    at_shards(shards or [])


def before_replaying(folder: Path, shards: Sequence[str] | None) -> None:
    """Raise DavidError where there is no run, or no shards."""
    at_run(folder)
    at_shards(shards or [])


def at_bundle(folder: Path) -> None:
    """Raise DavidError where nothing was kept of a step."""
    if not folder.is_dir():
        raise DavidError(f"--bundle {folder}: no such folder; give one of RUN/bad")
