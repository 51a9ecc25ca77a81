"""`david bench compare`: what the command line asks for, and how the pairs are shown."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from david.bench.compare.match import OTHER, Pair, pairs
from david.bench.compare.noise import MORE, RULE, Spread, chance
from david.bench.compare.sides import sides
from david.pack import tables
from david.pack.options import AsJson

console = Console()


def compare(
    files: Annotated[
        list[str], typer.Argument(metavar="ROWS", help="Files of rows, each FILE or FILE@N for its N-th row.")
    ],
    commits: Annotated[
        list[str] | None, typer.Option("--commit", metavar="HASH", help="Compare rows of these commits; give two.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare kept rows side by side, and say what is noise.

    The first is what the others are held against; a file alone has its newest rows held against those before. Other
    hardware, data and settings are named.
    """
    if commits and len(commits) < 2:
        raise typer.BadParameter(
            "give two or more, the first of which the others are held against", param_hint="--commit"
        )
    base, *others = sides(files, commits or [])
    found = [(base.name, other.name, pair) for other in others for pair in pairs(base, other)]
    if as_json:
        print(json.dumps({"rule": RULE, "pairs": [_told(*one) for one in found]}, indent=2))
        return
    for first, second, pair in found:
        tables.show(console, table(first, second, pair))
        for sentence in sentences(pair):
            console.print(sentence, soft_wrap=True, markup=False, highlight=False)
        console.print()
    console.print(RULE, soft_wrap=True, markup=False, highlight=False)


def table(first: str, second: str, pair: Pair) -> Table:
    title = f"{pair.suite}{f', {pair.recipe}' if pair.recipe else ''}"
    numbers = (first, second, "change")
    drawn = tables.table("measured", *numbers, "unit", "", title=title, right=numbers)
    name = None
    for one in pair.figures:
        if one.name != name and one.name:
            drawn.add_row(one.name)
        name = one.name
        change = "" if one.ratio is None else f"{one.ratio - 1:+.1%}"
        said = "" if one.verdict == OTHER else one.verdict
        drawn.add_row(f"  {one.quantity}", _said(one.first), _said(one.second), change, one.first.unit or "", said)
    return drawn


def sentences(pair: Pair) -> list[str]:
    """What differs besides the figures, and how many of these differ by more than noise."""
    whens = [f"{row.get('commit')} of {row.get('when')}" for row in pair.rows]
    told = [f"Commits {whens[0]} and {whens[1]}."]
    told += [f"Another {name}: {before} -> {after}" for name, (before, after) in pair.where.items()]
    if pair.what:
        told += [f"Not the same {name}: {before} -> {after}" for name, (before, after) in pair.what.items()]
        told.append("Something else was measured: what the figures differ by is no verdict on either.")
    elif pair.figures:
        count = sum(one.verdict == MORE for one in pair.figures)
        by_chance = sum(chance(one.first, one.second) or 0 for one in pair.figures)
        told.append(
            f"{count} of {len(pair.figures)} figures differ by more than noise; of as many equal ones "
            f"{by_chance:.1f} would by chance."
        )
    else:
        told.append("No figure is in both.")
    return told


def _said(one: Spread) -> str:
    """Median, with the range where one was kept; shares as such."""
    kind = ".1%" if one.unit == "share" else ",.4g" if one.median < 1000 else ",.0f"
    if one.least == one.most:
        return f"{one.median:{kind}}"
    return f"{one.median:{kind}} ({one.least:{kind}} to {one.most:{kind}})"


def _told(first: str, second: str, pair: Pair) -> dict[str, Any]:
    sides = [
        {"name": name, **{key: row.get(key) for key in ("commit", "when", "hardware")}}
        for name, row in zip((first, second), pair.rows, strict=True)
    ]
    figures = [
        {"name": one.name, "quantity": one.quantity, "unit": one.first.unit, "ratio": one.ratio, "verdict": one.verdict,
         "sides": [{"least": its.least, "median": its.median, "most": its.most, "rounds": its.rounds}
                   for its in (one.first, one.second)]}
        for one in pair.figures
    ]  # fmt: skip
    return {
        **{"suite": pair.suite, "recipe": pair.recipe, "sides": sides, "figures": figures},
        **{"hardware_and_versions": pair.where, "what_was_measured": pair.what},
    }
