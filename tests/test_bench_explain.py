"""On what training waits: shares that are right in virtual time and in a run, and add up to the whole."""

import json
import os
import signal
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import CHROMIUM, chromium
from played import MS, RECIPE, played
from smallest import SMALLEST
from typer.testing import CliRunner

from david.bench import rows
from david.bench.explain import tracks
from david.bench.explain.account import account, hundred, verdict
from david.bench.explain.costs import BESIDE
from david.bench.explain.path import by_stage, walk
from david.bench.explain.run import Ran, run
from david.bench.keep import keep
from david.cli import app
from david.pack import machine
from david.pack.errors import DavidError
from david.pipeline import trace
from david.pipeline.config import DataConfig
from david.pipeline.engines import images
from david.pipeline.loader import Loader
from david.pipeline.trace import Queued, Record, Span
from david.train import distributed
from david.train.signals import Stopped

TRAINER, LOADER, READER, OTHER_READER, DEVICE, COPIES = 1, 2, 3, 4, tracks.DEVICE, tracks.COPIES


def record(spans: list[tuple[Any, ...]]) -> Record:
    """Of (thread, name, start, end[, number]) in milliseconds, all of one loader."""
    made = Record()
    made.thread = TRAINER
    for thread, name, start, end, *number in spans:
        made.spans.append(Span(thread, name, start * MS, end * MS, 0, 0, "loader", *number))
    return made


def test_the_path_is_followed_by_hand() -> None:
    """One reader makes batches of one sample in 6 ms; a step takes 4 ms, and the trainer waits. All is the reader's,
    also while the trainer computes, but for the loader's own thread, which hands a batch on in 1 ms."""
    spans: list[tuple[Any, ...]] = []
    for number in range(4):
        begin, held = 6 * number, 6 * number + (number > 0)
        spans += [(READER, "sample", begin, begin + 6, number), (READER, "read", begin, begin + 2)]
        spans += [(READER, "decode", begin + 2, begin + 6)]
        spans += [(LOADER, "submit", 0, 0, number), (LOADER, "hold", held, held)]
        spans += [(LOADER, "batch", held, begin + 7), (LOADER, "prepare", held, begin + 6)]
        spans += [(TRAINER, "wait", held + 4 * (number > 0), begin + 7), (TRAINER, "step", begin + 7, begin + 11)]
    parts = walk(tracks.of(record(spans), prefetch=2), 7 * MS, 25 * MS)
    assert [(one.stage, one.start_ns // MS, one.end_ns // MS) for one in parts] == [
        *(("read", 7, 8), ("decode", 8, 12), ("read", 12, 14), ("decode", 14, 18), ("read", 18, 20)),
        *(("decode", 20, 24), ("batch", 24, 25)),
    ]
    assert parts[0].start_ns == 7 * MS and parts[-1].end_ns == 25 * MS
    assert all(one.end_ns == following.start_ns for one, following in pairwise(parts))


def test_shares_are_right_whoever_is_slower() -> None:
    sample, step = {"read": 1.0, "decode": 3.0}, {"forward": 2.0, "backward": 4.0, "optimiser": 1.0}
    assert played(sample, step).shares == {"read": 0.25, "decode": 0.75}  # 16 ms a batch, 7 ms a step
    assert played(sample, step, threads=4).shares == pytest.approx(
        {"forward": 0.2857, "backward": 0.5714, "optimiser": 0.1429}
    )
    assert played(sample, step, threads=2).shares == {"read": 0.25, "decode": 0.75}
    beside = played({"read": 1.0}, {BESIDE: 0.0, "optimiser": 2.0}, images=1, beside=2)
    # 2 images a thread: 6 ms, and one of the two waits for the other's first forward
    assert beside.shares == pytest.approx(
        {"forward": 2 / 9, "backward": 4 / 9, "optimiser": 2 / 9, "other": 1 / 9}, abs=1e-3
    )


def test_a_stage_slowed_by_2_ms_a_sample_is_the_bottleneck_with_its_share() -> None:
    sample, step = {"read": 0.5, "decode": 0.5, "augment": 1.0}, {"forward": 2.0, "backward": 4.0}
    for stage, share, waited in (("read", 2.5, 5.5), ("decode", 2.5, 6), ("augment", 3.0, 8)):
        found = played(sample, step, delays_ns=((stage, 2.0 * MS),))
        assert verdict(found).startswith(f"`{stage}` bounds training here")
        assert found.shares[stage] == pytest.approx(share / 4, abs=1e-3)
        assert found.waited[stage] == pytest.approx(waited / 16)  # of the last 10 ms of 16
    fast = played(sample, step, threads=2)
    assert verdict(fast).startswith("`backward` bounds") and sum(fast.waited.values()) < 0.01


def test_a_gpu_is_a_thread_that_the_host_runs_ahead_of() -> None:
    """The host asks for a step in 2 ms that takes the GPU 5; then it waits for a batch until 20, whose copy ends at 22,
    and the GPU begins the next step then."""
    spans = [
        *((READER, "sample", 0, 1, 0), (READER, "decode", 1, 18), (READER, "sample", 1, 18, 1)),
        *((LOADER, "submit", 0, 0, 0), (LOADER, "submit", 0, 0, 1)),
        *((LOADER, "hold", 0, 0), (LOADER, "batch", 0, 2), (LOADER, "prepare", 0, 1)),
        *((LOADER, "hold", 2, 2), (LOADER, "batch", 2, 20), (LOADER, "prepare", 2, 18), (LOADER, "copy", 19, 20)),
        *((TRAINER, "wait", 0, 2), (TRAINER, "step", 2, 4), (TRAINER, "wait", 4, 20), (TRAINER, "step", 20, 21)),
        (TRAINER, "log", 21, 27),
    ]
    asked = [
        Queued("forward", 2 * MS, 3.0, 5.0, False),
        Queued("backward", 3 * MS, 5.0, 8.0, False),
        Queued("copy", 19 * MS, 19.0, 22.0, True),
        Queued("forward", 20 * MS, 22.0, 24.0, False),
        Queued("backward", 20 * MS, 24.0, 27.0, False),
    ]
    queued = tracks.on_device(asked, 0, lambda event: event)
    found = tracks.of(record(spans), 2, queued)
    parts = walk(found, 0, 27 * MS)
    told = [(one.stage, one.start_ns // MS, one.end_ns // MS) for one in parts]
    assert told[-5:] == [
        *(("decode", 1, 18), ("batch", 18, 19), ("copy", 19, 22), ("forward", 22, 24), ("backward", 24, 27)),
    ]
    assert sum(one.end_ns - one.start_ns for one in parts) == 27 * MS


def test_events_are_recorded_where_a_gpu_works() -> None:
    """A stand-in's, each with the stream that it is recorded on."""
    asked: list[Any] = []

    def event(stream: Any) -> int:
        asked.append(stream)
        return len(asked)

    with trace.recording(event) as made:
        with trace.span("forward"), trace.span("log"):
            pass
        with trace.span("copy", stream="beside"):
            pass
    assert asked == [None, None, "beside", "beside"]
    assert [(one.name, one.begin, one.end, one.copies) for one in made.queued] == [
        *(("forward", 1, 2, False), ("copy", 3, 4, True))
    ]
    with trace.recording() as plain, trace.span("forward"):
        pass
    assert plain.queued == [] and [span.name for span in plain.spans] == ["forward"]


def test_nothing_is_kept_where_nobody_records() -> None:
    assert trace.span("a") is trace.span("b")
    with trace.recording() as made:
        pass
    with trace.span("after"):
        trace.spent(None, (("read", 1.0),))
        trace.mark("submit", None)
    assert made.spans == []
    with trace.recording() as made:
        trace.spent("loader", (("read", 0.001), ("decode", 0.002)))
    assert [span.name for span in tracks.outer_first(made.spans)] == ["read", "decode"]  # one after the other
    assert made.spans[1].end_ns == made.spans[0].start_ns


def test_steps_add_up_to_their_time_and_shares_to_one() -> None:
    found = played({"read": 1.3, "decode": 2.1}, {"forward": 7.7, "optimiser": 0.3}, threads=2)
    bounds = found.ran.tracks.steps()[found.ran.first :]
    assert [sum(one.values()) for one in by_stage(found.path, bounds)] == [
        end - begin for begin, end in pairwise(bounds)
    ]
    for parts in ({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1e-9, "b": 1.0}, {"a": 5.0}):
        assert round(sum(1e4 * share for share in hundred(parts).values()), 6) == 1e4


def test_without_a_step_there_is_nothing_to_explain() -> None:
    with pytest.raises(DavidError, match="no step was recorded"):
        tracks.of(record([(TRAINER, "log", 0, 1)]), 2)


def test_in_a_run_the_loader_is_seen_to_wait_for_the_stage_that_was_slowed(
    figures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 ms more in each `decode`, long on a loaded machine too: its share is that of the time that one thread,
    which never rests, spent there."""
    decode, spent = images.decode, []

    def slow(*args: Any) -> None:
        begin = time.perf_counter()
        time.sleep(0.04)
        decode(*args)
        spent.append(time.perf_counter() - begin)

    monkeypatch.setattr(images, "decode", slow)
    data, steps, first, size = DataConfig(height=48, width=32, threads=1), 14, 6, 4
    with trace.recording() as made, Loader(figures, "train", data, batch_size=size, seed=0) as loader:
        for _ in range(steps):
            next(loader)
            with trace.span("step"):
                pass
    found = account(Ran(RECIPE, tracks.of(made, data.prefetch), first, 0.0, 0.0))
    assert verdict(found).startswith("`decode` bounds training here")
    told = sum(spent[size * first : size * (steps - 1)]) / (sum(found.took_ms()) / 1e3)
    assert found.shares["decode"] == pytest.approx(told, abs=0.03)
    assert max(found.waited, key=lambda name: found.waited[name]) == "decode"


@pytest.fixture(scope="module")
def explained(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command leaves of a small run."""
    out = tmp_path_factory.mktemp("explained")
    settings = [word for one in (*SMALLEST, "batch_size=1") for word in ("--set", one)]
    ifs = [word for one in ("decode=+400", "batch=4,ranks=4", "forward=x0.5,threads=2") for word in ("--if", one)]
    words = ["bench", "explain", "--shards", str(figures), "--steps", "4", "--out", str(out), *settings, *ifs]
    words += ["--check", "--rounds", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "bounds training here" in done.output
    return out


def test_a_run_is_explained_whole(explained: Path) -> None:
    told = json.loads((explained / "explain.json").read_text())
    assert round(sum(10_000 * share for share in told["shares"].values()), 6) == 10_000
    assert {"forward", "losses", "backward", "optimiser", "log", "evaluation", "pictures", "checkpoint"} <= set(
        told["shares"]
    )
    assert len(told["steps"]) == 4 and told["verdict"].count(".") >= 1
    for step in told["steps"]:
        assert sum(step["path_ns"].values()) == pytest.approx(1e6 * step["ms"])
    assert 0 < told["recording"]["share"] < 0.01
    assert told["occasional"]["checkpoint"] == {
        "seconds": pytest.approx(told["occasional"]["checkpoint"]["seconds"]),
        "every": 100,
    }


def test_several_ranks_are_refused(figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(app, ["bench", "explain", "--shards", str(figures), "--out", str(tmp_path)])
    assert isinstance(done.exception, DavidError) and "here are 2 ranks" in str(done.exception)


def test_exact_sums_on_a_gpu_are_not_replayed(figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "device_of", lambda *_: torch.device("cuda", 0))
    words = ["bench", "explain", "--shards", str(figures), "--out", str(tmp_path), "--set", "parallel=exact"]
    done = CliRunner().invoke(app, [*words, "--if", "threads=4"])
    assert isinstance(done.exception, DavidError) and "--if: parallel=exact asks a GPU" in str(done.exception)


def test_decoding_elsewhere_is_refused_where_there_is_no_gpu(figures: Path, tmp_path: Path) -> None:
    words = ["bench", "explain", "--shards", str(figures), "--out", str(tmp_path), "--device", "cpu"]
    done = CliRunner().invoke(app, [*words, "--if", "threads=4,decode=gpu"])
    assert isinstance(done.exception, DavidError)
    assert "--if threads=4,decode=gpu: batches are made for the CPU here" in str(done.exception)


def test_what_if_is_predicted_and_run_where_it_can_be(explained: Path) -> None:
    """400 ms more a sample, in one thread: 2.5 samples a second at most, whatever the machine. By the replay; the rate
    that is told is measured, times what the replay gains or loses. Of a run, too, but for batches made beforehand."""
    told = json.loads((explained / "explain.json").read_text())
    slowed, ranks, faster = told["ifs"]
    assert 0 < told["replay"]["cores"] <= machine.cores()
    assert slowed["bound"] == "decode" and 0 < slowed["samples_per_s"] * (1 + told["replay"]["off"]) < 2.51
    ((predicted, measured),) = slowed["rounds"]
    assert 0 < slowed["measured"] == measured < 8 and slowed["error"] == predicted / measured - 1
    assert ranks["measured"] is None and ranks["samples_per_s"] > told["samples_per_s"]
    assert faster["measured"] is None and faster["samples_per_s"] > told["samples_per_s"]
    (kept,) = rows.read(explained / "rows.jsonl")
    assert kept["data"] == {"folder": "shards"}
    assert kept["suite"] == "explain" and kept["figures"]["decode=+400"]["measured"]["median"] == slowed["measured"]


def test_the_trace_keeps_to_the_format(explained: Path) -> None:
    """Complete events with numbers for times, a name for each row, and events of a row that nest."""
    told = json.loads((explained / "trace.json").read_text())
    rows: dict[int, list[tuple[float, float]]] = defaultdict(list)
    names = {}
    for event in told["traceEvents"]:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] == "M":
            names[event["name"], event["tid"]] = event["args"]["name"]
        else:
            assert event["ph"] == "X" and event["ts"] >= 0 and event["dur"] > 0
            rows[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert names["process_name", 0] == "david train" and {"critical path", "trainer", "loader"} <= set(names.values())
    assert all(("thread_name", row) in names for row in rows)
    for events in rows.values():
        open_: list[float] = []
        for start, end in sorted(events, key=lambda one: (one[0], -one[1])):
            while open_ and open_[-1] <= start + 1e-6:
                open_.pop()
            assert not open_ or end <= open_[-1] + 1e-6
            open_.append(end)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here")
def test_the_page_shows_it_in_a_browser(explained: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        browser.open((explained / "explain.html").as_uri())
        assert browser.run("document.querySelector('#verdict').textContent").startswith("`")
        shares = "[...document.querySelectorAll('#shares td.n')].map((one) => parseFloat(one.textContent))"
        assert round(sum(browser.run(shares)), 2) == 100.0
        assert browser.run("document.querySelectorAll('#times rect').length") >= 1
        assert browser.run("document.querySelectorAll('#ifs tr').length") == 4
        names = browser.run("[...document.querySelectorAll('.timeline .row b')].map((one) => one.textContent)")
        assert names[:2] == ["critical path", "trainer"] and "loader" in names
        wide = browser.run("document.querySelector('.path rect').getBoundingClientRect().width")
        assert wide > 0 and browser.run("document.documentElement.scrollWidth <= innerWidth")
        assert len(browser.requests) == 1 and browser.problems == []


def test_a_signal_takes_away_what_was_recorded_and_says_so(
    figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that training names is thrown away: nobody can go on there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("david.train.record.recorder.Recorder.take", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Stopped, match="nothing is kept of it, and the same command begins anew"):
        run(RECIPE, figures, 4, "cpu")
    assert not [*tmp_path.iterdir()]


def test_a_suite_that_is_ended_takes_away_what_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def measure() -> Any:
        with tempfile.TemporaryDirectory():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    before = signal.signal(signal.SIGTERM, lambda *_: None)  # a test is not ended where nobody listens
    try:
        with pytest.raises(SystemExit, match="143"):
            keep(measure, tmp_path / "rows.jsonl", as_json=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not [one for one in tmp_path.iterdir() if one.is_dir()]
