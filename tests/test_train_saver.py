"""Checkpoints that a thread writes while training goes on: of their step, whole or absent, and in time."""

import errno
import json
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from smallest import SMALLEST

from david import cli
from david.model import tensors
from david.pipeline.batch import Batch
from david.train import checkpoint, recipes, run, shelf
from david.train.journal import read
from david.train.loop import train
from david.train.recipe import override
from david.train.record.recorder import Recorder
from david.train.record.saver import Saver
from david.train.signals import EXIT_STOPPED
from david.train.step.step import Outcome

pytestmark = pytest.mark.usefixtures("warm")
SETTINGS = [*SMALLEST, *("batch_size=4", "steps=8", "optim.warmup=3", "checkpoint_every=2", "keep=9")]
SETTINGS += ["picture_every=0", "evaluate_every=0", "optim.ema=0.9"]
TINY = override(recipes.recipe("smoke"), SETTINGS)
HOW = {"device": "cpu", "speaks": False}
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture(scope="module")
def unbroken(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    train(TINY, shards, out, **HOW)
    return out


def files(out: Path, step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {path.stem: load_file(path) for path in shelf.path_of(out / "checkpoints", step).glob("*.safetensors")}


def assert_same_checkpoint(one: Path, other: Path, step: int) -> None:
    ours, theirs = files(one, step), files(other, step)
    assert ours.keys() == theirs.keys() >= {"model", "optimiser", "average"}
    for name, group in ours.items():
        assert group.keys() == theirs[name].keys()
        assert all(value.equal(theirs[name][key]) for key, value in group.items()), name


class Steps:
    """How many a run in this process has recorded, to be waited for."""

    def __init__(self) -> None:
        steps, self.done, self.changed = self, 0, threading.Condition()
        take = Recorder.take

        def counted(self: Recorder, outcome: Outcome, batch: Batch, wait_s: float) -> None:
            take(self, outcome, batch, wait_s)
            with steps.changed:
                steps.done = outcome.step
                steps.changed.notify_all()

        self.take = counted

    def wait(self, step: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.done >= step, PATIENCE_S)


def test_a_checkpoint_is_of_its_step_though_training_goes_on_while_it_is_written(
    shards: Path, unbroken: Path, tmp_path: Path, monkeypatch
):
    """Each is written only when the step after it is done, which has changed every weight."""
    steps, write = Steps(), checkpoint.write
    monkeypatch.setattr(Recorder, "take", steps.take)

    def late(folder: Path, step: int, *more, **how) -> Path:
        if step < TINY.steps:
            steps.wait(step + 1)
        return write(folder, step, *more, **how)

    monkeypatch.setattr(checkpoint, "write", late)
    train(TINY, shards, tmp_path / "run", **HOW)
    for step in (2, 4, 6, 8):
        assert shelf.damage(shelf.path_of(tmp_path / "run" / "checkpoints", step)) is None
        assert_same_checkpoint(tmp_path / "run", unbroken, step)
        marks = json.loads((shelf.path_of(tmp_path / "run" / "checkpoints", step) / shelf.STATE).read_text())["records"]
        lines = (tmp_path / "run" / "ledger.jsonl").read_bytes()[: marks["ledger.jsonl"]["bytes"]].splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, step + 1))
    weights = shelf.weights_of(shelf.path_of(tmp_path / "run" / "checkpoints", 8))
    assert (tmp_path / "run" / run.WEIGHTS).samefile(weights)


def struck(words: list[str], said: Path, number: int, writes: int, later: int) -> None:
    """In a process of its own: `david` with these words. As a checkpoint's file number `writes` is about to be written,
    and `later` steps after the one that it is of are done, the process sends itself a signal."""
    steps, write, seen = Steps(), tensors.write, []
    Recorder.take = steps.take

    def struck_before(named: dict[str, torch.Tensor], path: Path, *more) -> None:
        seen.append(path)
        if len(seen) == writes:
            steps.wait(int(path.parent.name.strip(".part").removeprefix("step-")) + later)
            os.kill(os.getpid(), number)
        write(named, path, *more)

    tensors.write = struck_before
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    sys.argv = ["david", *words]
    cli.main()


@pytest.mark.parametrize(
    ("number", "writes", "later", "kept"),
    [(signal.SIGKILL, 1, 1, 0), (signal.SIGKILL, 9, 1, 4), (signal.SIGTERM, 5, 0, None)],
)
def test_a_run_struck_while_its_thread_writes_goes_on_to_the_bit(
    shards: Path, unbroken: Path, tmp_path: Path, number: int, writes: int, later: int, kept: int | None
):
    out, said = tmp_path / "run", tmp_path / "said"
    words = ["train", "--shards", str(shards), "--out", str(out), "--device", "cpu"]
    words += [word for setting in SETTINGS for word in ("--set", setting)]
    process = multiprocessing.get_context("spawn").Process(target=struck, args=(words, said, number, writes, later))
    process.start()
    process.join()
    newest, damaged = shelf.newest_whole(out / "checkpoints")
    assert not damaged
    if number == signal.SIGKILL:
        assert process.exitcode == -number, said.read_text()
        assert newest == kept and any((out / "checkpoints").glob(".step-*.part"))
    else:
        assert process.exitcode == EXIT_STOPPED and f"saved after step {newest}" in said.read_text()
        assert not any((out / "checkpoints").glob(".step-*"))
    train(TINY, shards, out, **HOW)
    assert_same_checkpoint(out, unbroken, 8)
    one, other = ([line["loss"] for line in read(each / "journal.jsonl")] for each in (out, unbroken))
    assert one == other and len(one) == 8


def test_a_disk_that_is_full_ends_the_run_with_the_file_and_leaves_what_was_whole(
    shards: Path, tmp_path: Path, monkeypatch
):
    """At the next step, which has waited for nothing, or at the run's end."""
    out, write, steps = tmp_path / "run", tensors.write, Steps()
    monkeypatch.setattr(Recorder, "take", steps.take)
    for full, done in ((4, 5), (8, 8)):

        def no_room(named: dict[str, torch.Tensor], path: Path, *more, full: int = full) -> None:
            if path.parent.name == f".step-{full:08d}.part":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            write(named, path, *more)

        monkeypatch.setattr(tensors, "write", no_room)
        with pytest.raises(OSError, match=r"No space left on device: '.*\.safetensors'"):
            train(TINY, shards, out, **HOW)
        assert shelf.newest_whole(out / "checkpoints") == (full - 2, [])
        assert full <= steps.done <= done + 1
    assert not any((out / "checkpoints").glob(".step-*"))


def test_the_first_error_is_told_once_and_nothing_is_left_unwritten():
    written, gate = [], threading.Event()
    with Saver() as saver:
        saver.begin(lambda: (gate.wait(PATIENCE_S), written.append(1)))
        saver.check()
        assert not written
        gate.set()
        saver.begin(lambda: written.append(2))
    assert written == [1, 2]
    with pytest.raises(OSError, match="full"), Saver() as saver:
        saver.begin(fails)
    with pytest.raises(ValueError, match="first"), Saver() as saver:
        saver.begin(lambda: (gate.wait(PATIENCE_S), written.append(3)))
        raise ValueError("first")
    assert written == [1, 2, 3]
    with Saver() as saver:
        saver.begin(fails)
        with pytest.raises(OSError, match="full"):
            saver.wait()
        saver.check()


def test_somebody_in_a_hurry_does_not_wait():
    gate = threading.Event()
    with pytest.raises(KeyboardInterrupt), Saver() as saver:
        saver.begin(gate.wait)
        raise KeyboardInterrupt
    assert any(thread.name == "david-checkpoint" for thread in threading.enumerate())
    gate.set()


def fails() -> None:
    raise OSError(errno.ENOSPC, "full")
