"""What a terminal shows while david works, as the lines that fit into its width."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from david.bench import result
from david.bench.harness import Figure
from david.pack import tables
from david.pack.look import report_page
from david.pack.progress import progress_bar
from david.pack.shards import manifest
from david.pack.work import build, display
from david.pack.work.crew import Event, Waits
from david.pack.work.display import PackDisplay
from david.pack.work.plan import PackOptions
from david.pack.work.worker import STAGES, Start, Tally
from david.pipeline.info import described
from david.pipeline.info import show as show_info
from david.train.metrics.table import METRICS, table
from david.train.recipes import listing
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


def test_what_training_says_breaks_between_words_and_keeps_its_brackets() -> None:
    console = terminal(80)
    live = Live(console, start=0, stop=10)
    live.note("smoke: 2.4 M parameters, 28 samples, batches of 4 on 1 x cpu in fp32, from the beginning, in runs/[a]")
    live.close()
    said = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", console.file.getvalue())  # type: ignore[attr-defined]
    assert re.search(r"in fp32, from the ?\nbeginning, in runs/\[a\] *\n", said)


def test_a_bar_shows_figures_only_once_there_are_some() -> None:
    live = Live(terminal(80), start=0, stop=10)
    try:
        assert len(lines(terminal(80), live._bar.get_renderable())) == 1
    finally:
        live.close()


@pytest.mark.parametrize("terminal_there", [True, False])
def test_a_bar_of_work_is_drawn_from_the_first_moment(terminal_there: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal_there, width=80, _environ={})
    with progress_bar(console, "clip[/b].mp4", "frames") as progress:  # a name from outside is no markup
        for done in range(1, 4):
            progress(done, 3)
    assert not terminal_there or "clip[/b].mp4" in console.file.getvalue()  # type: ignore[attr-defined]
    assert not terminal_there or "3/3" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", WIDTHS)
def test_packing_again_shows_how_far_the_shards_are_read(width: int) -> None:
    console = terminal(width)
    shown = PackDisplay(console)
    assert not any(lines(console, shown.panel()))
    shown.reading("the shards that are there", 0, 90_000_000_000)
    shown.begin -= 100  # seconds that went by
    shown.reading("the shards that are there", 30_000_000_000, 90_000_000_000)
    bar, told = lines(console, shown.panel())
    assert set(bar) <= set("━╸╺ ") and len(told) <= width
    assert told.startswith("reading the shards that are there: 30.0 of 90.0 GB") and told.endswith(" left")
    shown.reading("the shards that are there", 90_000_000_000, 90_000_000_000)
    assert not any(lines(console, shown.panel()))


def test_packing_again_tells_each_shard_that_is_read(raw: Path, shards: Path, monkeypatch) -> None:
    monkeypatch.setattr(display, "LINE_EVERY_S", 0.0)
    console = Console(file=io.StringIO(), width=80)
    options = PackOptions(val_fraction=0.25, shard_samples=7)
    build.build(raw, shards, options, reading=PackDisplay(console).reading, workers=1)
    said = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(said) == sum(map(len, manifest.load(shards).splits.values()))
    assert all(line.startswith("reading the shards that are there: 0.0 of 0.0 GB") for line in said)


def show_verify(console: Console, shards: Path) -> None:
    for one in report_page.tables(manifest.load(shards)):
        tables.show(console, one)


def show_bench(console: Console, shards: Path) -> None:
    figures = {
        "floor, 16 processes": {"rate": Figure("samples/s", (1055.04, 1146.72, 12197.3))},
        "webdataset": {"first": Figure("s to the first batch", (1.0, 12.5, 13.7))},
        "parts": {"depth_gradient_matching": Figure("ms", (1.0, 12.5, 113.7)), "waited": Figure("share", (0.3, 0.4))},
    }
    tables.show(console, result.table("batches of 16, 2 workers each, mirrored at random; drawn", figures))


def show_metrics(console: Console, shards: Path) -> None:
    tables.show(console, table(dict.fromkeys(METRICS, 0.123456)))


def show_recipes(console: Console, shards: Path) -> None:
    tables.show(console, listing.table())


def show_the_set(console: Console, shards: Path) -> None:
    show_info(described(str(shards)), console)


@pytest.mark.parametrize("show", [show_verify, show_bench, show_metrics, show_recipes, show_the_set])
def test_no_table_folds_at_80_columns_and_none_loses_anything_off_a_terminal(show, shards: Path) -> None:
    said = []
    for console in (terminal(80), Console(file=io.StringIO(), width=80)):
        show(console, shards)
        found = re.sub(r"\x1b\[[\d;]*m", "", console.file.getvalue())  # type: ignore[attr-defined]
        assert "…" not in found
        said.append([line.split()[0] for line in found.splitlines() if line[:1].strip()])  # what each row begins with
    assert said[0] == said[1]


def test_what_each_figure_means_is_told_where_there_is_room(shards: Path) -> None:
    for width, told in ((80, False), (130, True)):
        geometry = report_page.tables(manifest.load(shards))[0]
        console = terminal(width)
        assert tables.show(console, geometry) is told
        assert ("nearest pixel" in console.file.getvalue()) is told  # type: ignore[attr-defined]
