"""What a person sees while packing runs: rates, time left, where the time goes, what each worker does."""

import time
from collections import Counter
from contextlib import AbstractContextManager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from david.pack.errors import shown
from david.pack.work.crew import Event, Waits
from david.pack.work.plan import Plan
from david.pack.work.record import Done
from david.pack.work.worker import STAGES, Start, Tally

LINE_EVERY_S = 5.0


class PackDisplay(AbstractContextManager):
    """Hears the events of a pack. On a terminal a live panel, elsewhere (or with `plain`) a line every few seconds."""

    def __init__(self, console: Console, plain: bool = False):
        self.console = console
        self.live = Live(console=console, refresh_per_second=4) if console.is_terminal and not plain else None
        self.begin = self.last_line = time.monotonic()
        self.total = self.kept = self.done = self.quarantined = 0
        self.bytes_in = self.bytes_out = 0
        self.read: tuple[str, int, int] | None = None  # what is read before packing begins, bytes done, in all
        self.seconds: Counter[str] = Counter()
        self.doing: dict[int, str] = {}

    def __enter__(self) -> "PackDisplay":
        if self.live:
            self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.transient = not self.total  # where there was nothing to pack
            self.live.update(self.panel())
            self.live.__exit__(*error)  # type: ignore[arg-type]
        elif self.done:
            self.console.print(self.line(), soft_wrap=True)

    def reading(self, what: str, done: int, total: int) -> None:
        """Bytes of `what` read so far, and to be read before packing begins."""
        if self.read is None or self.read[0] != what:
            self.begin = time.monotonic()
        self.read = what, done, total
        self.show(self.reading_line)
        if done >= total:
            self.read = None

    @property
    def reading_line(self) -> str:
        what, done, total = self.read or ("", 0, 0)
        rate = done / self.elapsed_s
        return (
            f"reading {what}: {done / 1e9:,.1f} of {total / 1e9:,.1f} GB, {rate / 1e6:,.0f} MB/s, "
            f"{left(total - done, rate)}"
        )

    def show(self, line: str) -> None:
        """The panel; without one a line, unless there was one a moment ago."""
        if self.live:
            self.live.update(self.panel())
        elif time.monotonic() - self.last_line >= LINE_EVERY_S:
            self.last_line = time.monotonic()
            self.console.print(line, soft_wrap=True, highlight=False)

    def planned(self, plan: Plan, done: list[Done]) -> None:
        sizes = {one.name: len(one.samples) for one in plan.shards}
        self.total, self.kept = plan.samples, len(plan.quarantined) + sum(sizes[one.name] for one in done)
        self.quarantined = len(plan.quarantined) + sum(len(one.quarantined) for one in done)
        self.done = self.bytes_in = self.bytes_out = 0  # where zips come in groups, each has a plan of its own
        self.begin, self.read = time.monotonic(), None
        if self.kept:
            self.console.print(f"going on: {len(done)} of {len(sizes)} shards are done and whole")

    def say(self, text: str) -> None:
        self.console.print(shown(text), soft_wrap=True, highlight=False, markup=False)

    def hear(self, event: Event) -> None:
        match event.what:
            case Start(key):
                self.doing[event.worker] = key
            case Tally() as tally:
                self.done += 1
                self.quarantined += tally.bad
                self.bytes_in += tally.bytes_in
                self.bytes_out += tally.bytes_out
                self.seconds.update(tally.seconds)
            case Waits(told):
                self.say(f"worker {event.worker} {told}")
            case Done(name=name):
                self.doing[event.worker] = f"{name} done"
        self.show(self.line())

    @property
    def elapsed_s(self) -> float:
        return max(time.monotonic() - self.begin, 1e-9)

    def eta(self) -> str:
        return left(self.total - self.kept - self.done, self.done / self.elapsed_s)

    def line(self) -> str:
        share = ", ".join(f"{name} {seconds:.0%}" for name, seconds in self.shares().items())
        return (
            f"pack: {self.kept + self.done:,} of {self.total:,} samples, {self.done / self.elapsed_s:.1f}/s, "
            f"{self.bytes_in / 1e6 / self.elapsed_s:.1f} MB/s in, "
            f"{self.bytes_out / 1e6 / self.elapsed_s:.1f} MB/s out, "
            f"{self.quarantined} quarantined, {self.eta()} ({share})"
        )

    def shares(self) -> dict[str, float]:
        total = sum(self.seconds.values()) or 1.0
        return {name: self.seconds[name] / total for name in STAGES}

    def panel(self) -> Table:
        """A row each for the bar, what is done and left, what flows, where the time goes, and the workers; while
        something is read first, how far that is."""
        if self.read:
            _, done, total = self.read
            return grid(ProgressBar(total=max(total, 1), completed=done), self.reading_line)
        if not self.total:
            return Table.grid()  # nothing to pack, or not yet
        done, total, elapsed_s = self.kept + self.done, max(self.total, 1), self.elapsed_s
        flow_in, flow_out = self.bytes_in / 1e6 / elapsed_s, self.bytes_out / 1e6 / elapsed_s
        rows = (
            f"{done:,} of {self.total:,} samples ({done / total:.0%})  {self.done / elapsed_s:.1f}/s  {self.eta()}",
            f"{flow_in:.1f} MB/s in  {flow_out:.1f} MB/s out  {self.quarantined:,} quarantined",
            "time in  " + "  ".join(f"{name} {share:.0%}" for name, share in self.shares().items()),
            "workers  " + "  ".join(f"{number}: {what}" for number, what in sorted(self.doing.items())),
        )
        return grid(ProgressBar(total=total, completed=done), *rows)


def grid(bar: ProgressBar, *rows: str) -> Table:
    """A bar above lines that are cut where the terminal ends."""
    panel = Table.grid(expand=True)
    panel.add_row(bar)  # in a row of its own: a bar ends no line by itself
    for row in rows:
        panel.add_row(Text(row, no_wrap=True, overflow="ellipsis"))
    return panel


def left(amount: float, rate: float) -> str:
    """The time that `amount` takes at `rate` a second."""
    seconds = amount / rate if rate else 0
    return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02} left"
