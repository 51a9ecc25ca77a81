"""The fastest settings of a recipe on a shard set, and of packing: searched, measured in turns, written to a file."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench import rows
from david.bench.result import Result
from david.bench.tune import candidates
from david.bench.tune.candidates import Settings
from david.bench.tune.packing import packing
from david.bench.tune.search import Found, find
from david.bench.tune.training import Training
from david.pack import machine, tuned
from david.pack.errors import DavidError
from david.pipeline.reading import sets
from david.train import distributed
from david.train.distributed import World
from david.train.recipe import Recipe, to_json
from david.train.step.gradients import settled
from david.train.tasks import table as tasks

FOR_PACKING = 1 / 3  # of the time, where raw samples are given
Told = Callable[[str], None]


def measure(
    recipe: Recipe, shards: Path, out: Path, minutes: float, device: str, raw: Path | None = None, every: bool = False
) -> Result:
    """Tune for so many minutes and write the file `out`. Every rank comes here.

    raw: samples to tune packing on too; every: measure each candidate as well, beyond that time, to tell how near the
    best of them the search came. Raises DavidError where the shards, the recipe or the device do not allow it."""
    dataset, seconds, known = sets.load(shards), 60 * minutes, rows.here()
    with distributed.joined(device) as world, Console(stderr=True, quiet=not world.leads).status("tuning") as status:
        if raw is not None and world.size > 1:
            raise DavidError(f"--raw: packing is tuned by one process, here are {world.size} ranks; tune it by itself")
        recipe = replace(settled(recipe, world.device), objective=tasks.settled(recipe.objective))
        share = 1 if raw is None else 1 - FOR_PACKING
        found = {"train": for_training(recipe, shards, world, seconds * share, every, status.update)}
        about = {"recipe": to_json(recipe), "shards": dataset.fingerprint}
        parts: dict[str, Any] = {"train": about | {"ranks": world.size, "device": world.device.type}}
        if raw is not None:
            found["pack"] = for_packing(raw, seconds - seconds * share, every, status.update)
            parts["pack"] = {"raw": raw.resolve().name}
        if world.leads:
            told = {name: part | part_of(found[name]) for name, part in parts.items()}
            tuned.write(out, {"hardware": known["hardware"], "versions": known["versions"], "pack": None, **told})
    figures = {f"{name}, {who}": one for name, part in found.items() for who, one in part.figures.items()}
    folder = Path(sets.parts(shards)[0]).name
    title = f"{recipe.name} on {folder}, {world.size} x {world.device.type}, in {minutes:g} minutes"
    return Result.of(
        "tune",
        title,
        figures,
        verdict=" ".join(part.told(name) + part.told_beside() for name, part in found.items()),
        notes=tuple(note for part in found.values() for note in part.notes),
        about={
            **{"recipe": to_json(recipe), "ranks": world.size, "minutes": minutes},
            "shards": {"fingerprint": dataset.fingerprint, "samples": dataset.samples("train")},
            "data": {"folder": folder},
            "found": {name: row_of(part) for name, part in found.items()},
        },
    )


def for_training(recipe: Recipe, shards: Path, world: World, seconds: float, every: bool, told: Told) -> Found:
    end = time.monotonic() + seconds
    made = Training(recipe, shards, world)

    def clock() -> float:
        """The leader's, so that all ranks decide alike."""
        return world.from_leader(round(1e6 * time.monotonic())) / 1e6

    return find(made.groups, made.seconds, end - time.monotonic(), told, guess=made.begins, clock=clock, every=every)


def for_packing(raw: Path, seconds: float, every: bool, told: Told) -> Found:
    end, these = time.monotonic() + seconds, candidates.of_packing(machine.cores())
    with packing(raw, max(one["workers"] for one in these)) as made:

        def measure_s(one: Settings, budget_s: float) -> float:
            return made.seconds(one["workers"], budget_s)

        return find([these], measure_s, end - time.monotonic(), told, every=every)


def part_of(found: Found) -> dict[str, Any]:
    """What the file says of what was found."""
    gain = {name: figures["rate"].as_json() for name, figures in found.figures.items()}
    return {"settings": found.open(found.chosen), "defaults": found.open(found.usual), "gain": gain}


def row_of(found: Found) -> dict[str, Any]:
    best = None if found.best is None else found.open(found.best)
    return {
        **{"settings": found.open(found.chosen), "defaults": found.open(found.usual), "tried": found.tried},
        **{"took_s": round(found.took_s, 1), "best_of_all": best, "recovered": found.recovered, "notes": found.notes},
    }
