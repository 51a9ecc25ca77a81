"""Tables for people: names and figures stand whole on one line, whatever the width."""

from collections.abc import Collection

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from david.pack.errors import shown

WIDE = 10_000  # columns where there is no terminal: nothing is left out, and no line breaks
LEAST_WORDS = 24  # columns that sentences must have to be read


def table(*headings: str, title: str | None = None, right: Collection[str] = (), words: Collection[str] = ()) -> Table:
    """A table without rules. right: headings of figures; words: headings of sentences, which may break between words"""
    made = Table(box=None, pad_edge=False, header_style="bold", title=title)
    for heading in headings:
        made.add_column(heading, justify="right" if heading in right else "left", no_wrap=heading not in words)
    return made


def show(console: Console, made: Table) -> bool:
    """Print a table of `table`'s. On a terminal without room for a last column of sentences it is left out, and the
    answer is False."""
    console = _wide(console)
    if made.title:
        console.print(Text(str(made.title), style="italic"), soft_wrap=True)
        made.title = None
    last, whole = made.columns[-1], True
    if not last.no_wrap:
        made.columns.pop()
        room = console.width - Measurement.get(console, console.options.update(max_width=WIDE), made).maximum
        whole = room >= LEAST_WORDS + made.padding[1]
        if whole:
            made.columns.append(last)
    console.print(made, highlight=False)
    return whole


def tell(console: Console, named: dict[str, str]) -> None:
    """Print a line for each name and what there is to say of it; names from outside move no cursor."""
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True, style="bold")
    lines.add_column(overflow="fold")
    for name, value in named.items():
        lines.add_row(name, escape(shown(value)))
    _wide(console).print(lines)


def _wide(console: Console) -> Console:
    """The same, as wide as need be where it is no terminal."""
    if console.is_terminal:
        return console
    return Console(file=console.file, width=WIDE, color_system=None, quiet=console.quiet)
