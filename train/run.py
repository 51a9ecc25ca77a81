"""The folder of a run.

recipe.json       the resolved recipe, the shard set's fingerprint, the version that began it
journal.jsonl     a line a step: step, loss, ...        (`recorder.py`)
ledger.jsonl      a line a step: what it was trained on (`ledger.py`)
metrics.jsonl     a line an evaluation of the held-out samples
checkpoints/      see `checkpoint.py`
pictures/         step-00000000.png, ...: held-out samples, their targets and predictions
tensorboard/      events
loss.png          the loss over the steps, drawn at the end
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from david import __version__
from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pipeline import sets
from david.pipeline.sets import Shards
from david.train import recipe as recipes
from david.train.objective import terms
from david.train.recipe import Recipe

RECIPE = "recipe.json"
# What may change while a run goes on: none of these changes a result. `steps` may grow.
FREE = (
    *("data.threads", "data.prefetch", "max_skipped", "keep", "best"),
    *("log_every", "picture_every", "evaluate_every", "checkpoint_every"),
)


def fresh_name(recipe: Recipe, seconds: int) -> Path:
    """Where a run goes that was given no folder: by recipe and time, seconds since 1970."""
    return Path("runs") / f"{recipe.name}-{datetime.fromtimestamp(seconds):%Y%m%d-%H%M%S}"


def stored(out: Path) -> tuple[Recipe, str] | None:
    """The recipe and the shard set's fingerprint of the run that `out` holds; None where it holds nothing yet.

    Raises DavidError where it holds something else.
    """
    path = out / RECIPE
    if path.is_file():
        try:
            content = json.loads(path.read_bytes())
            return recipes.from_json(content["recipe"]), content["shards"]
        except (ValueError, KeyError, TypeError) as error:
            raise DavidError(f"{path}: not the recipe of a run ({error}); use another --out folder") from error
    if out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
        raise DavidError(f"{out}: not empty and holds no run (no {RECIPE}); use another --out folder")
    return None


def check(recipe: Recipe, shards: Shards, out: Path | None, ranks: int) -> None:
    """Raise DavidError, before anything is started or written, where this run cannot begin or go on."""
    terms(recipe.model.heads, recipe.objective)
    dataset = sets.load(shards)
    order = recipe.data.order(dataset.counts("train"), recipe.batch_size, recipe.seed)
    order.batch(0).share(0, ranks)
    if recipe.best is not None:
        dataset.counts("val")
    if out is not None and (found := stored(out)) is not None:
        compare(out, *found, recipe, dataset.fingerprint)


def compare(out: Path, old: Recipe, old_shards: str, new: Recipe, new_shards: str) -> None:
    """Raise DavidError, with the path and both values, where the run in `out` is not this one."""
    before, now = recipes.flat(recipes.to_json(old)), recipes.flat(recipes.to_json(new))
    for path, value in now.items():
        if path in FREE or (path == "steps" and value >= before[path]):
            continue
        if before[path] != value:
            raise DavidError(
                f"{out}: the run there has {path} = {before[path]}, this recipe has {value}; go on with the run's own "
                "recipe (leave --recipe and --set out) or use another --out folder"
            )
    if old_shards != new_shards:
        raise DavidError(
            f"{out}: the run there was trained on the shard set {old_shards[:16]}, this one is {new_shards[:16]}; "
            "give the same shards or use another --out folder"
        )


@contextmanager
def claimed(out: Path, recipe: Recipe, shards: Shards) -> Iterator[None]:
    """Make the folder, or take it up again, and keep every other process from training in it meanwhile."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DavidError(f"{out}: another process trains there; wait for it or use another --out folder") from error
        content = {
            "david": __version__,
            "shards": sets.load(shards).fingerprint,
            "recipe": recipes.to_json(recipe),
        }
        write_whole(out / RECIPE, json.dumps(content, indent=1).encode() + b"\n")
        for name in ("checkpoints", "pictures"):
            (out / name).mkdir(exist_ok=True)
        yield


def resolve(out: Path | None, chosen: Recipe | None, default: Recipe, assignments: list[str], steps: int) -> Recipe:
    """The recipe that a command means: the chosen one, else that of the run in `out`, else the default; with --set.

    It is stretched to `steps` where it has fewer, and a run that was stretched once stays so.
    """
    found = stored(out) if out is not None else None
    base = chosen or (found[0] if found else default)
    if found:
        base = replace(base, steps=max(base.steps, found[0].steps))
    recipe = recipes.override(base, assignments)
    return replace(recipe, steps=max(recipe.steps, steps))
