"""What a terminal shows while david works, as the lines that fit into its width."""

import io
from typing import Any

import pytest
from rich.console import Console

from david.pack.work.crew import Event, Waits
from david.pack.work.display import PackDisplay
from david.pack.work.worker import STAGES, Start, Tally
from david.train.record.display import Live

WIDTHS = (80, 100, 130)
RECORD: dict[str, Any] = {
    **{"step": 99_000, "loss": 0.12345, "rate": 1e-4, "samples_per_s": 1234.5, "wait": 0.034},
    **{"memory_gb": 12.3, "gpu_memory_gb": 101.2},
}


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=24, _environ={})


def lines(console: Console, shown: Any) -> list[str]:
    """The lines of a renderable, cut where the terminal ends, as rich's live display cuts them."""
    return ["".join(part.text for part in line).rstrip() for line in console.render_lines(shown, pad=False)]


@pytest.mark.parametrize("width", WIDTHS)
def test_pack_shows_samples_rate_time_left_and_quarantine(width: int) -> None:
    console = terminal(width)
    display = PackDisplay(console)
    display.total, display.begin = 298_008, display.begin - 1000
    for worker in range(16):
        display.hear(Event(worker, Start(f"synthhuman-{worker:07}")))
    for _ in range(3):
        display.hear(Event(0, Tally("0000001", dict.fromkeys(STAGES, 0.5), 2_000_000, 500_000, bad=True)))
    found = lines(console, display.panel())
    assert len(found) == 5 and all(len(line) <= width for line in found)
    assert set(found[0]) <= set("━╸╺ ")
    assert found[1].startswith("3 of 298,008 samples (0%)  0.0/s") and found[1].endswith(" left")
    assert found[2].endswith("MB/s out  3 quarantined")
    assert [name for name in STAGES if f" {name} 20%" in found[3]] == list(STAGES)
    assert found[4].startswith("workers  0: synthhuman-0000000  1:") and found[4].endswith("…")


def test_a_worker_that_waits_for_the_disk_is_told_of_on_a_line() -> None:
    console = Console(file=io.StringIO(), width=80)
    PackDisplay(console, plain=True).hear(Event(3, Waits("has been waiting for the disk for 60 s, to write x.tar")))
    assert console.file.getvalue() == "worker 3 has been waiting for the disk for 60 s, to write x.tar\n"  # type: ignore


@pytest.mark.parametrize("width", WIDTHS)
def test_train_keeps_step_count_and_time_left(width: int) -> None:
    console = terminal(width)
    live = Live(console, start=98_000, stop=100_000)
    try:
        live.update(RECORD)
        found = lines(console, live._bar.get_renderable())
    finally:
        live.close()
    assert len(found) == 2 and all(len(line) <= width for line in found)
    assert "99000/100000" in found[0] and found[0].endswith("left")
    assert "loss 0.1235" in found[1] and "waits 3 %" in found[1] and found[1].endswith("12.3 + 101.2 GB")


def test_a_bar_shows_figures_only_once_there_are_some() -> None:
    live = Live(terminal(80), start=0, stop=10)
    try:
        assert len(lines(terminal(80), live._bar.get_renderable())) == 1
    finally:
        live.close()
