"""The folder of a run.

recipe.json       the resolved recipe, the shard set's fingerprint and places, the version that began it
journal.jsonl     a line a step: step, loss, ...        (`recorder.py`)
ledger.jsonl      a line a step: what it was trained on (`ledger.py`)
metrics.jsonl     a line an evaluation of the held-out samples
checkpoints/      see `checkpoint.py`
weights.safetensors   what was trained, to measure, to predict and to begin with: the weights of the newest checkpoint,
                  or of the best where the recipe names a metric as `best`; their average where it averages them. Any
                  reader of safetensors takes it; what it says about itself, `label.py` reads
pictures/         step-00000000.png, ...: held-out samples, their targets and predictions
tensorboard/      events
loss.png          the loss over the steps, drawn at the end

A folder holds a run from its first recorded step on. What a start leaves that came no further is no run: the next start
takes it away, whatever its recipe.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from david import __version__
from david.pack.errors import DavidError
from david.pack.files import make_folder, stands, sync, write_whole
from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards, ShardSets
from david.train import journal
from david.train import recipe as recipes
from david.train.journal import Mark
from david.train.losses.table import PAIRS
from david.train.recipe import Recipe
from david.train.trees import flat

RECIPE, WEIGHTS, LOCK = "recipe.json", "weights.safetensors", ".lock"
PAIRED = ("da2k",)  # sources whose samples tell which of two points is the nearer
BUNDLE = "bundle.json"  # in each folder of bad/, see `record/bundle.py`
RECORDS = ("journal.jsonl", "ledger.jsonl", "metrics.jsonl")
# What may change while a run goes on: none of these changes a result. `steps` may grow.
FREE = (
    *("data.threads", "data.prefetch", "max_skipped", "keep", "best"),
    "objective.teachers",  # wherever they are now: their SHA-256 are the same
    *("log_every", "picture_every", "evaluate_every", "checkpoint_every"),
)


class Stored(NamedTuple):
    """What a run says of itself. shards: the shard set's fingerprint; places: where its sets are, see `sets.places`;
    none where an older version began it"""

    recipe: Recipe
    shards: str
    places: list[dict[str, Any]]


def stored(out: Path) -> Stored | None:
    """What the run in `out` says of itself; None where it holds nothing yet.

    Raises DavidError where it holds something else.
    """
    path = out / RECIPE
    try:  # one look: another process may begin there, or take away what came to nothing, at any time
        names = {entry.name for entry in out.iterdir()}
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        names = {out.name}
    if RECIPE not in names:
        if any(not name.startswith(".") for name in names):
            raise DavidError(f"{out}: not empty and holds no run (no {RECIPE}); use another --out folder")
        return None
    if not begun(out):
        return None
    try:
        content = json.loads(path.read_bytes())
        return Stored(recipes.from_json(content["recipe"]), content["shards"], content.get("places", []))
    except (ValueError, KeyError, TypeError) as error:
        raise DavidError(f"{path}: not the recipe of a run ({error}); use another --out folder") from error


def trained(out: Path) -> Stored:
    """What the run in `out` says of itself. Raises DavidError where there is none."""
    found = stored(out) if (out / RECIPE).is_file() else None
    if found is None:
        raise DavidError(f"{out}: no run there; give the folder that `david train` made")
    return found


def shards_of(out: Path, names: Sequence[str] | None, cache: Path | None, cache_gb: float) -> tuple[Path, ...]:
    """The folders of the shards that the run in `out` was trained on: those that are named, else where it says.

    Raises DavidError where they are not there any more, or where the run does not say."""
    if names:
        return sets.located(names, cache, cache_gb)
    places = trained(out).places
    if not places:
        raise DavidError(f"{out}: begun by a version that did not note where its shards are; name them with --shards")
    try:
        return sets.at(places, cache)
    except DavidError as error:
        raise DavidError(
            f"{out}: its shards were there, name them with --shards where they are now: {error}"
        ) from error


def begun(out: Path) -> bool:
    """Whether a run has recorded anything there."""
    for name in RECORDS:
        with suppress(FileNotFoundError):
            if (out / name).stat().st_size:
                return True
    with suppress(FileNotFoundError):
        return any(entry.name.startswith("step-") for entry in (out / "checkpoints").iterdir())
    return False


def check(recipe: Recipe, shards: Shards, out: Path | None, ranks: int) -> None:
    """Raise DavidError, before anything is started or written, where this run cannot begin or go on."""
    dataset = sets.load(shards)
    recipe.objective.check(recipe.model.heads, fields_of(dataset))
    recipe.objective.require(recipe.model, recipe.data.size)
    order = recipe.data.order(dataset.counts("train"), recipe.batch_size, recipe.seed)
    order.batch(0).share(0, ranks)
    if recipe.best is not None:
        dataset.counts("val")
    if out is not None and (found := stored(out)) is not None:
        compare(out, found.recipe, found.shards, recipe, dataset.fingerprint)


def fields_of(dataset: ShardSets) -> tuple[str, ...]:
    """What any of the sets can teach: their fields beside the image, and `PAIRS`, where their source tells pairs."""
    names = [field.name for one in dataset.tables for field in one.labels]
    paired = any(one.options.get("source") in PAIRED for one in dataset.manifests)
    return tuple(dict.fromkeys([*names, *([PAIRS] if paired else [])]))


def compare(out: Path, old: Recipe, old_shards: str, new: Recipe, new_shards: str) -> None:
    """Raise DavidError, with the path and both values, where the run in `out` is not this one."""
    before, now = flat(recipes.to_json(old)), flat(recipes.to_json(new))
    for path, value in now.items():
        if path in FREE or (path == "steps" and value >= before[path]):
            continue
        if path == "data.decode" and "auto" in (value, before[path]):  # what the run has; older versions did not say
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


def cut_back(out: Path, step: int, marks: dict[str, Mark]) -> list[str]:
    """Leave of the records what they told up to the checkpoint of `step`, which has `marks` of them; sentences where
    that is not all. Raises DavidError where one is damaged."""
    found = [journal.cut_back(out / name, step, marks.get(name)) for name in RECORDS]
    return [sentence for sentence in dict.fromkeys(found) if sentence]


@contextmanager
def claimed(out: Path, recipe: Recipe, shards: Shards) -> Iterator[None]:
    """Make the folder, or take it up again, and keep every other process from training in it meanwhile.

    Where nothing was recorded at the end, nothing is left. Raises DavidError where another process trains there, or
    has meanwhile left another run."""
    fingerprint = sets.load(shards).fingerprint
    with locked(out) as made:
        if found := stored(out):
            compare(out, found.recipe, found.shards, recipe, fingerprint)
        else:
            clear(out)
        content = {
            "david": __version__,
            "shards": fingerprint,
            "places": sets.places(shards),
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
                if made:
                    (out / LOCK).unlink()
                    with suppress(OSError):  # somebody else is about to begin there
                        out.rmdir()


@contextmanager
def locked(out: Path) -> Iterator[bool]:
    """Hold the folder's lock; whether the folder was made for it. Raises DavidError where another process has it."""
    while True:
        missing = [path for path in (out, *out.parents) if not path.exists()]
        make_folder(out)
        try:
            lock = (out / LOCK).open("w")
        except FileNotFoundError:
            continue  # whoever had it took the folder away when they left
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DavidError(
                    f"{out}: another process trains there; wait for it or use another --out folder"
                ) from error
            if stands(lock.fileno(), out / LOCK):  # else likewise, the file
                for path in missing:
                    sync(path.parent)
                yield bool(missing)
                return


def clear(out: Path) -> None:
    """Take away what a start left that recorded nothing; last the file that says whose it is."""
    for name in ("checkpoints", "pictures", "tensorboard", "bad"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (WEIGHTS, *RECORDS, RECIPE):
        (out / name).unlink(missing_ok=True)
