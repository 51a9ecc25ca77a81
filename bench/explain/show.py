"""What was found, on a screen."""

from typing import Any

from rich.console import Console

from david.bench.explain.account import Account, verdict
from david.pack import tables


def facts(told: dict[str, Any]) -> str:
    """What it was measured on, in a sentence."""
    hardware, versions = told["hardware"], told["versions"]
    where = f"{hardware.get('gpu') or 'no GPU'}, {hardware['cores']} cores of an {hardware['processor']}"
    return f"{where}; commit {told['commit']}; torch {versions.get('torch')}"


def show(found: Account, console: Console) -> None:
    recipe = found.ran.recipe
    title = f"{recipe.name}: {recipe.batch_size} samples a step, {found.samples_per_s:,.1f} samples/s"
    figures = ("share", "ms a step", "waited for")
    drawn = tables.table("stage", *figures, title=title, right=figures)
    for name, share in found.shares.items():
        waited = f"{found.waited[name]:.1%}" if found.waited.get(name) else ""
        drawn.add_row(name, f"{share:.2%}", f"{found.mean_ns[name] / 1e6:,.2f}", waited)
    tables.show(console, drawn)
    console.print(
        f"{len(found.steps)} steps; recording took {found.cost:.2%} of their time.", soft_wrap=True, highlight=False
    )
    console.print(verdict(found), soft_wrap=True, markup=False, highlight=False)
