"""What was found, on a screen."""

from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from david.bench import rows
from david.bench.explain.account import Account, verdict
from david.bench.explain.check import Checked
from david.bench.harness import Figure
from david.pack import tables
from david.train.recipe import to_json


def facts(told: dict[str, Any]) -> str:
    """What it was measured on, in a sentence."""
    hardware, versions = told["hardware"], told["versions"]
    where = f"{hardware.get('gpu') or 'no GPU'}, {hardware['cores']} cores of an {hardware['processor']}"
    return f"{where}; commit {told['commit']}; torch {versions.get('torch')}"


def ifs(checked: list[Checked]) -> Table:
    """What would have been."""
    figures = ("predicted", "measured", "error")
    drawn = tables.table("if", *figures, "bound by", title="samples/s", right=figures)
    for one in checked:
        drawn.add_row(one.what.text, *numbers(one), one.predicted.bound)
    return drawn


def numbers(one: Checked) -> tuple[str, str, str]:
    """Samples/s predicted, samples/s measured if the device's memory was enough, and the error."""
    measured = "does not fit" if not one.fits else "" if one.measured is None else f"{one.measured:,.1f}"
    return f"{one.predicted.rate:,.1f}", measured, "" if one.error is None else f"{one.error:+.1%}"


def errors(checked: list[Checked]) -> str:
    """How far predictions were off, in a sentence; empty where none was checked."""
    off = sorted(abs(one.error) for one in checked if one.error is not None)
    if not off:
        return ""
    return (
        f"Of {len(off)} predictions that were run the median is off by {median(off):.1%}, the worst by {off[-1]:.1%}."
    )


def row(found: Account, checked: list[Checked], rounds: int, shards: Path) -> dict[str, Any]:
    """The row of what was checked on a shard set."""
    recipe = found.ran.recipe
    figures = {
        one.what.text: {
            name: Figure("samples/s", tuple(pair[place] for pair in one.rounds)).as_json()
            for place, name in enumerate(("predicted", "measured"))
        }
        for one in checked
        if one.rounds
    }
    about = {"recipe": to_json(recipe), "steps": len(found.steps), "rounds": rounds, "ranks": 1}
    about["data"] = {"folder": shards.resolve().name}
    return rows.row("explain", figures, verdict=errors(checked), **about)


def show(found: Account, console: Console, checked: list[Checked]) -> None:
    recipe = found.ran.recipe
    title = f"{recipe.name}: {recipe.batch_size} samples a step, {found.samples_per_s:,.1f} samples/s"
    figures = ("share", "ms a step", "waited for")
    drawn = tables.table("stage", *figures, title=title, right=figures)
    for name, share in found.shares.items():
        waited = f"{found.waited[name]:.1%}" if found.waited.get(name) else ""
        drawn.add_row(name, f"{share:.2%}", f"{found.mean_ns[name] / 1e6:,.2f}", waited)
    tables.show(console, drawn)
    if checked:
        tables.show(console, ifs(checked))
    console.print(
        f"{len(found.steps)} steps; recording took {found.cost:.2%} of their time.", soft_wrap=True, highlight=False
    )
    if said := errors(checked):
        console.print(said, soft_wrap=True, highlight=False)
    console.print(verdict(found), soft_wrap=True, markup=False, highlight=False)
