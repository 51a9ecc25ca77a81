"""What a suite found: figures, and what they mean. One printer and one kind of row for all suites."""

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from david.bench import rows
from david.bench.harness import Figure
from david.pack import tables

Figures = dict[str, dict[str, Figure]]  # what ran -> quantity -> figure


@dataclass(frozen=True)
class Result:
    """suite: its name; figures: what was measured, as JSON has it; table: the same for people; verdict: what it means,
    in one sentence, or None; about: what it was measured on, for the row; notes: sentences for people beside it"""

    suite: str
    figures: dict[str, Any]
    table: Table
    verdict: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, suite: str, title: str, figures: Figures, **more: Any) -> "Result":
        """From figures that contenders took turns for. more: the other fields"""
        measured = {name: {key: one.as_json() for key, one in found.items()} for name, found in figures.items()}
        return cls(suite, measured, table(title, figures), **more)

    def row(self) -> dict[str, Any]:
        """The row that is kept of it, see `rows.py`."""
        return rows.row(self.suite, self.figures, verdict=self.verdict, **self.about)

    def show(self, console: Console) -> None:
        tables.show(console, self.table)
        for sentence in (*self.notes, *([self.verdict] if self.verdict else [])):
            console.print(sentence, soft_wrap=True, markup=False, highlight=False)


def table(title: str, figures: Figures) -> Table:
    """A line for what ran, and one for each of its quantities: median, range over the rounds, unit."""
    numbers = ("median", "rounds")
    drawn = tables.table("measured", *numbers, "unit", title=title, right=numbers)
    for name, quantities in figures.items():
        drawn.add_row(name)
        for quantity, figure in quantities.items():
            drawn.add_row(f"  {quantity}", *figure.told(), figure.unit)
    return drawn
