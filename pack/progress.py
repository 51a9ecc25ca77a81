"""A bar for work that counts: on a terminal with rate and time left, elsewhere a line at each tenth."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

EACH = 100  # of work whose end nobody knows, a line is told


class Tenths:
    """Tells of work a line at each tenth of it, or at each `EACH` where nobody knows how much it is."""

    def __init__(self, what: str, unit: str):
        self._what, self._unit, self._told = what, unit, 0

    def __call__(self, done: int, total: int | None) -> None:
        if total is None:
            if done % EACH == 0:
                print(f"{self._what}: {done:,} {self._unit}", flush=True)
            return
        tenths = 10 * done // max(total, 1)
        if tenths > self._told:
            self._told = tenths
            print(f"{self._what}: {done:,} of {total:,} {self._unit}", flush=True)


class Rate(ProgressColumn):
    """How many a second, once that is known."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.{1 if speed < 10 else 0}f}/s")


@contextmanager
def progress_bar(console: Console, what: str, unit: str = "samples") -> Iterator[Callable[[int, int | None], None]]:
    """A callback (done, total) that draws how far the work is; total: None where nobody knows."""
    if not console.is_terminal:
        yield Tenths(what, unit)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(*columns, Rate(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
