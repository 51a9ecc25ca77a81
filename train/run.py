"""The folder of a run.

recipe.json       the resolved recipe, the shard set's fingerprint and places, the version that began it
journal.jsonl     a line a step: step, loss, ...        (`recorder.py`)
ledger.jsonl      a line a step: what it was trained on (`ledger.py`)
metrics.jsonl     a line an evaluation of the held-out samples
checkpoints/      see `checkpoint.py`
pictures/         step-00000000.png, ...: held-out samples, their targets and predictions
tensorboard/      events
loss.png          the loss over the steps, drawn at the end

A folder holds a run from its first recorded step on. What a start leaves that came no further is no run: the next start
takes it away, whatever its recipe.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from david import __version__
from david.pack.errors import DavidError
from david.pack.files import sync, write_whole
from david.pipeline import sets
from david.pipeline.sets import Shards
from david.train import recipe as recipes
from david.train.config import terms
from david.train.recipe import Recipe

RECIPE, LOCK = "recipe.json", ".lock"
RECORDS = ("journal.jsonl", "ledger.jsonl", "metrics.jsonl")
# What may change while a run goes on: none of these changes a result. `steps` may grow.
FREE = (
    *("data.threads", "data.prefetch", "max_skipped", "keep", "best"),
    *("log_every", "picture_every", "evaluate_every", "checkpoint_every"),
)


class Stored(NamedTuple):
    """What a run says of itself. shards: the shard set's fingerprint"""

    recipe: Recipe
    shards: str


def stored(out: Path) -> Stored | None:
    """What the run in `out` says of itself; None where it holds nothing yet.

    Raises DavidError where it holds something else.
    """
    path = out / RECIPE
    if path.is_file():
        if not begun(out):
            return None
        try:
            content = json.loads(path.read_bytes())
            return Stored(recipes.from_json(content["recipe"]), content["shards"])
        except (ValueError, KeyError, TypeError) as error:
            raise DavidError(f"{path}: not the recipe of a run ({error}); use another --out folder") from error
    if out.exists() and (not out.is_dir() or any(not entry.name.startswith(".") for entry in out.iterdir())):
        raise DavidError(f"{out}: not empty and holds no run (no {RECIPE}); use another --out folder")
    return None


def begun(out: Path) -> bool:
    """Whether a run has recorded anything there."""
    records = (out / name for name in RECORDS)
    return any(path.is_file() and path.stat().st_size for path in records) or any(out.glob("checkpoints/step-*"))


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
    """Make the folder, or take it up again, and keep every other process from training in it meanwhile.

    Where nothing was recorded at the end, nothing is left."""
    missing = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)
    with locked(out):
        if not begun(out):
            clear(out)
        content = {
            "david": __version__,
            "shards": sets.load(shards).fingerprint,
            "recipe": recipes.to_json(recipe),
        }
        write_whole(out / RECIPE, json.dumps(content, indent=1).encode() + b"\n")
        for name in ("checkpoints", "pictures"):
            (out / name).mkdir(exist_ok=True)
        sync(out)
        try:
            yield
        finally:
            if not begun(out):
                clear(out)
                if missing:
                    (out / LOCK).unlink()
                    out.rmdir()


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder's lock. Raises DavidError where another process has it."""
    while True:
        with (out / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DavidError(
                    f"{out}: another process trains there; wait for it or use another --out folder"
                ) from error
            if (out / LOCK).exists() and os.path.samestat(os.fstat(lock.fileno()), (out / LOCK).stat()):
                yield
                return
        # its holder took it away when it left


def clear(out: Path) -> None:
    """Take away what a start left that recorded nothing."""
    for name in (RECIPE, *RECORDS):
        (out / name).unlink(missing_ok=True)
    for name in ("checkpoints", "pictures", "tensorboard", "bad"):
        shutil.rmtree(out / name, ignore_errors=True)
