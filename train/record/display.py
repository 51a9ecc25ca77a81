"""What a person sees while it trains: a live bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_SECONDS = 5.0  # between two plain lines


class Display(Protocol):
    def update(self, record: dict[str, Any]) -> None:
        """Show a journal's record."""

    def note(self, text: str) -> None:
        """Say something once."""

    def close(self) -> None: ...


class Bar(Progress):
    """A bar with steps, time taken and time left, and under it a line of figures: neither pushes the other out."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.figures:
            yield Text(self.figures)


class Live:
    """A bar with the time left, over loss, rates and memory."""

    def __init__(self, console: Console, start: int, stop: int):
        self._bar = Bar(
            TextColumn("[bold]step"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task("", total=stop, completed=start)
        self._bar.start()

    def update(self, record: dict[str, Any]) -> None:
        self._bar.figures = summary(record)
        self._bar.update(self._task, completed=record["step"])

    def note(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        self._bar.stop()


class Plain:
    """A line every few seconds, and one for the first and the last step."""

    def __init__(self, console: Console, start: int, stop: int):
        self._console, self._start, self._stop = console, start, stop
        self._began, self._shown = time.monotonic(), float("-inf")

    def update(self, record: dict[str, Any]) -> None:
        now, step = time.monotonic(), record["step"]
        if now - self._shown < PLAIN_SECONDS and step != self._stop:
            return
        self._shown = now
        left = (now - self._began) / max(1, step - self._start) * (self._stop - step)
        self.note(f"step {step}/{self._stop}  {summary(record)}  {left:.0f} s left")

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        pass


class Silent:
    """For the ranks that do not lead."""

    def update(self, record: dict[str, Any]) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


def display(start: int, stop: int, speaks: bool) -> Display:
    """The display of a run from after step `start` to `stop`; silent where this rank does not speak."""
    if not speaks:
        return Silent()
    console = Console(stderr=True)
    return (Live if console.is_terminal else Plain)(console, start, stop)


def summary(record: dict[str, Any]) -> str:
    loss = "skipped" if record["loss"] is None else f"loss {record['loss']:.4f}"
    memory = " + ".join(f"{record[name]:.1f}" for name in ("memory_gb", "gpu_memory_gb") if name in record)
    pace = f"{record['samples_per_s']:.1f} samples/s  waits {100 * record['wait']:.0f} %"
    return f"{loss}  rate {record['rate']:.1e}  {pace}  {memory} GB"
