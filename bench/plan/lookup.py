"""Which kept row tells a number that a plan needs: the newest that fits, or none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from david.bench import rows
from david.train.recipe import Recipe, to_json

RESULTS = Path(rows.__file__).with_name("results")
RATES = ("step", "training")  # suites that measure the step
ALIKE = ("model", "precision", "compile", "micro_batch", "recompute")  # what decides on how long a step takes


class Kept(NamedTuple):
    """A row and where it stands"""

    place: str
    row: dict[str, Any]

    @property
    def source(self) -> str:
        here = self.row["hardware"]
        machine = here.get("gpu") or f"{here.get('cores')} cores of {here.get('processor')}"
        return f"{self.place}: {self.row['suite']} of {self.row['when'][:10]}, {machine}"


def read(paths: list[Path] | None) -> list[Kept]:
    """All rows of these files, or of `bench/results`; oldest first. Raises DavidError where one has none."""
    found = [
        Kept(f"{path.name}@{number}", row)
        for path in (paths or sorted(RESULTS.glob("*.jsonl")))
        for number, row in enumerate(rows.measured(path, f"--rows {path}", "hardware"), 1)
    ]
    return sorted(found, key=lambda one: one.row.get("when", ""))


def newest(kept: list[Kept], fits: Callable[[dict[str, Any]], bool]) -> Kept | None:
    return next((one for one in reversed(kept) if fits(one.row)), None)


def on(row: dict[str, Any], gpu: str) -> bool:
    """Whether a row was measured on this GPU; `cpu`: without any."""
    has = row["hardware"].get("gpu")
    return has is None if gpu == "cpu" else has is not None and gpu in has


def same_step(row: dict[str, Any], recipe: Recipe) -> bool:
    """Whether a row's step is this recipe's: network, size of images and what decides on the time. A setting that the
    row does not know yet is as it was."""
    told, asked = row.get("recipe"), json.loads(json.dumps(to_json(recipe)))
    if row["suite"] not in RATES or not isinstance(told, dict) or "rate" not in row["figures"].get("step", {}):
        return False
    sizes = all(told["data"].get(side) == asked["data"][side] for side in ("height", "width"))
    return sizes and all(_holds(told[part], asked[part]) for part in ALIKE if part in told and part in asked)


def _holds(told: Any, asked: Any) -> bool:
    if isinstance(told, dict) and isinstance(asked, dict):
        return all(_holds(one, asked[name]) for name, one in told.items() if name in asked)
    return told == asked or {str(told).lower(), str(asked).lower()} in ({"true", "default"}, {"false", "off"})
