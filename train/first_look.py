"""What can be refused by looking at names and paths alone, before torch and timm are loaded, which takes seconds.

Each command looks here first; what is found later is looked for again by whoever needs it.
"""

from collections.abc import Sequence
from pathlib import Path

from david.pack.errors import DavidError
from david.pipeline.reading import sets
from david.train import run
from david.train.recipe import Recipe, override
from david.train.start import Start


def before_training(
    chosen: Recipe, assignments: list[str], shards: Sequence[str], begin: Start, out: Path | None
) -> None:
    """Raise DavidError where `david train` can't begin: no shards, no such field, no weights to begin with.
    chosen: the recipe, where it isn't that of the run in `out`"""
    at_shards(shards)
    if out and run.stored(out):  # it goes on: the recipe is the run's, and what it began with may be gone
        return
    begin.check()
    resolved = override(chosen, assignments)
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


def before_replaying(folder: Path, shards: Sequence[str] | None) -> None:
    """Raise DavidError where there is no run, or no shards."""
    at_run(folder)
    at_shards(shards or [])


def at_bundle(folder: Path) -> None:
    """Raise DavidError where nothing was kept of a step."""
    if not folder.is_dir():
        raise DavidError(f"--bundle {folder}: no such folder; give one of RUN/bad")
    if not (folder / run.BUNDLE).is_file():
        raise DavidError(f"--bundle {folder}: no bundle of a step (no {run.BUNDLE}); give one of RUN/bad")
