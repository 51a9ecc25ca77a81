"""Journals that are cut back, ledgers that ranks do not change, checkpoints that are whole or absent."""

import io
import json
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors import SafetensorError
from torch import nn
from typer.testing import CliRunner

from david.cli import app
from david.pack.errors import DavidError
from david.pipeline.loader import Loader
from david.train import checkpoint, ledger, loop, recipes, shelf
from david.train.eval import pictures
from david.train.journal import Journal, Mark, cut_back, read
from david.train.recipe import override
from david.train.record import curves
from david.train.record.display import Plain
from david.train.record.recorder import Recorder
from david.train.step.step import Step


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def told(path: Path, *steps: int) -> Mark:
    journal = Journal(path)
    for step in steps:
        journal.write({"step": step, "loss": 1 / step})
    mark = journal.sync()
    journal.close()
    return mark


TAILS = [
    b"",
    b'{"step": 9, "lo',
    b'{"step": 9, "loss": 1}\n{"step": 10',
    b'\0\0\0\n{"step": 7, "loss": 0}\n',
    b"\0" * 99,
]


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("marked", [True, False])
def test_a_journal_goes_on_after_its_checkpoint_and_tells_no_step_twice(tmp_path: Path, tail: bytes, marked: bool):
    path = tmp_path / "journal.jsonl"
    mark = told(path, 1, 2, 3, 4, 5)
    told(path, 6, 7, 8)
    with path.open("ab") as file:  # what a kill or a power cut leaves
        file.write(tail)
    assert cut_back(path, 5, mark if marked else None) is None
    assert told(path, 6, 7) == told(path)
    assert [record["step"] for record in read(path)] == [1, 2, 3, 4, 5, 6, 7]


def test_a_record_that_is_gone_is_told_and_one_that_was_changed_refused(tmp_path: Path):
    path = tmp_path / "journal.jsonl"
    mark = told(path, 1, 2, 3, 4, 5)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for changed in (whole[7:], b"".join(lines[1:]), whole[:-7], whole.replace(b"3", b"4"), b""):
        path.write_bytes(changed)
        with pytest.raises(DavidError, match=r"its first \d+ bytes are not .* put the file back, or move it away"):
            cut_back(path, 5, mark)
        assert path.read_bytes() == changed
    path.write_bytes(whole[7:])
    with pytest.raises(DavidError, match="damaged before the line of step 2"):
        cut_back(path, 5, None)
    with pytest.raises(DavidError, match="line 1 is no record of a step"):
        list(read(path))
    path.unlink()
    for of_checkpoint in (mark, None):
        assert "is gone: what it told up to step 5 is lost" in (cut_back(path, 5, of_checkpoint) or "")
    assert cut_back(path, 5, {"bytes": 0, "sha256": ""}) is None  # metrics, before the first
    told(path, 1, 2)
    assert "the steps so far are trained again" in (cut_back(path, 0, None) or "") and not path.read_bytes()


def test_a_line_that_finds_no_room_names_the_file(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal._file = open("/dev/full", "ab", buffering=0)  # noqa: PTH123, SIM115
    with pytest.raises(OSError, match="No space left on device: '.*journal.jsonl'"):
        journal.write({"step": 1})
    journal.close()


def test_the_ledger_says_the_same_whatever_padding_and_tells_orders_apart():
    ids, epochs = np.array([5, 3, 9]), np.array([2, 2, 2])
    plain = ledger.entry(7, ids, epochs, np.array([True] * 3))
    padded = ledger.entry(7, np.append(ids, 5), np.append(epochs, 2), np.array([True] * 3 + [False]))
    assert plain == padded and (plain["epoch"], plain["samples"]) == (2, 3)
    swapped = ledger.entry(7, ids[::-1], epochs, np.array([True] * 3))
    assert swapped["sha256"] != plain["sha256"]
    assert json.loads(json.dumps(plain)) == plain


def trained(seed: int = 0, steps: int = 3) -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    for _ in range(steps):
        advance(network, optimiser)
    return network, optimiser


def advance(network: nn.Module, optimiser: torch.optim.Optimizer) -> torch.Tensor:
    optimiser.zero_grad()
    x = torch.linspace(0, 1, 300).view(1, 3, 10, 10).contiguous(memory_format=torch.channels_last)
    loss = network(x).square().mean()
    loss.backward()
    optimiser.step()
    return loss.detach()


def test_a_restored_checkpoint_goes_on_to_the_bit(tmp_path: Path):
    network, optimiser = trained()
    path = checkpoint.save(tmp_path, 3, network, optimiser, {"step": 3}, keep=2)
    expected = [advance(network, optimiser) for _ in range(5)]
    other, other_optimiser = trained(seed=1, steps=1)
    assert checkpoint.restore(path, other, other_optimiser) == ({"step": 3}, {})
    assert [advance(other, other_optimiser) for _ in range(5)] == expected
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride()


def test_checkpoints_hold_no_pickle_and_pass_sha256sum(tmp_path: Path):
    path = checkpoint.save(tmp_path, 3, *trained(), {"step": 3}, keep=2)
    assert sorted(p.name for p in path.iterdir()) == [
        "SHA256SUMS",
        "model.safetensors",
        "optimiser.safetensors",
        "state.json",
    ]
    subprocess.run([shutil.which("sha256sum") or "sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=path, check=True)


def test_extra_tensors_come_back_by_their_names_and_are_watched_over(tmp_path: Path):
    extra = {"ema": {"a": torch.arange(3.0), "b": torch.eye(2)}, "scaler": {"scale": torch.tensor(8.0)}}
    path = checkpoint.save(tmp_path, 3, *trained(), {"step": 3}, keep=2, extra=extra)
    _, found = checkpoint.restore(path, *trained(seed=1))
    assert found.keys() == extra.keys() and found["ema"]["a"].equal(extra["ema"]["a"]) and found["scaler"]["scale"] == 8
    assert shelf.damage(path) is None
    (path / "ema.safetensors").unlink()
    assert "ema.safetensors" in (shelf.damage(path) or "")


def test_the_best_checkpoint_outlives_the_newest(tmp_path: Path):
    network, optimiser = trained()
    for step, best in ((3, 3), (6, 3), (9, 3), (12, 12), (15, 12)):
        checkpoint.save(tmp_path, step, network, optimiser, {"step": step}, keep=1, best=best)
        assert shelf.steps(tmp_path) == sorted({step, best}, reverse=True)


def test_the_last_checkpoints_are_kept(tmp_path: Path):
    network, optimiser = trained()
    for step in (3, 6, 9, 12):
        checkpoint.save(tmp_path, step, network, optimiser, {"step": step}, keep=2)
    assert shelf.steps(tmp_path) == [12, 9]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000009", "step-00000012"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.safetensors", "state.json", "SHA256SUMS"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_newest_checkpoint_is_told_and_the_last_good_one_taken(tmp_path: Path, name: str, harm: str):
    network, optimiser = trained()
    for step in (3, 6):
        checkpoint.save(tmp_path, step, network, optimiser, {"step": step}, keep=3)
    file = shelf.path_of(tmp_path, 6) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(data if harm == "flip" else data[:-1])
    step, notes = shelf.newest_whole(tmp_path)
    assert step == 3 and len(notes) == 1 and "step-00000006" in notes[0]
    checkpoint.save(tmp_path, 6, network, optimiser, {"step": 6}, keep=3)  # the run comes past it again
    assert shelf.newest_whole(tmp_path) == (6, [])
    for step in (3, 6):
        (shelf.path_of(tmp_path, step) / name).unlink()
    with pytest.raises(DavidError, match="no whole checkpoint among 2"):
        shelf.newest_whole(tmp_path)


def test_whatever_else_is_called_as_a_checkpoint_is_told_and_left(tmp_path: Path):
    network, optimiser = trained()
    checkpoint.save(tmp_path, 3, network, optimiser, {"step": 3}, keep=9)
    (tmp_path / "step-abcdefgh").mkdir()
    (tmp_path / "step-00000006").write_text("a file")
    (tmp_path / "step-00000009").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".step-00000012.part").write_text("a file")
    (tmp_path / "step-00000001").symlink_to(tmp_path / "step-00000003")  # moved to another disk, say
    step, notes = shelf.newest_whole(tmp_path)
    names = ["step-00000006", "step-00000009", "step-abcdefgh"]
    assert step == 3 and notes == [f"{tmp_path / name} is no checkpoint and is left out" for name in names]
    for step in (6, 9, 12):  # which the run comes past
        checkpoint.save(tmp_path, step, network, optimiser, {"step": step}, keep=3)
    assert shelf.steps(tmp_path) == [12, 9, 6] and all(not shelf.damage(p) for p in tmp_path.glob("step-0*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"step-{n:08}" for n in (6, 9, 12)), "step-abcdefgh"]


def test_a_full_disk_leaves_the_checkpoints_as_they_were(tmp_path: Path, monkeypatch):
    network, optimiser = trained()
    checkpoint.save(tmp_path, 3, network, optimiser, {"step": 3}, keep=1)

    def full(*_) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint.tensor_file, "save_file", full)
    with pytest.raises(OSError, match="No space left on device: '.*model.safetensors'"):
        checkpoint.save(tmp_path, 6, network, optimiser, {"step": 6}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    assert shelf.newest_whole(tmp_path) == (3, [])


def test_weights_have_a_name_of_their_own_that_outlives_the_checkpoint(tmp_path: Path, monkeypatch):
    network, optimiser = trained()
    path = tmp_path / "weights.safetensors"
    for step, linked in ((3, True), (6, True), (9, False)):
        with monkeypatch.context() as patch:
            if not linked:
                patch.setattr(checkpoint.os, "link", no_links)
            advance(network, optimiser)
            made = checkpoint.save(tmp_path / "c", step, network, optimiser, {}, keep=1, label={"david": f"{step}"})
            for _ in range(2):
                checkpoint.publish(made, path)
        assert path.samefile(made / "model.safetensors") == linked
        assert path.read_bytes() == (made / "model.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "weights.safetensors"]


def no_links(*_) -> None:
    raise PermissionError(1, "Operation not permitted")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("damaged", [False, True])
def test_a_kill_at_any_call_of_saving_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch, damaged: bool):
    """Saving is cut off before its first write, rename or removal, before its second, and so on to the last."""
    network, optimiser = trained()
    calls = 0

    def killing_at(last: int, function):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == last:
                raise Killed
            return function(*args, **kwargs)

        return call

    for last in range(1, 100):
        folder = tmp_path / str(last)
        checkpoint.save(folder, 3, network, optimiser, {"step": 3}, keep=1)
        if damaged:  # the checkpoint of a step that the run comes past again
            checkpoint.save(folder, 6, network, optimiser, {"step": 6}, keep=2)
            (shelf.path_of(folder, 6) / shelf.MODEL).write_bytes(b"rubbish")
        calls = 0
        with monkeypatch.context() as patch:
            for owner, name in (
                *((Path, name) for name in ("mkdir", "rename", "replace", "rmdir", "write_text", "unlink")),
                *((os, name) for name in ("fsync", "rename", "unlink", "rmdir")),
                *((checkpoint, name) for name in ("write_whole", "_delete")),
                (checkpoint.tensor_file, "write"),
            ):
                patch.setattr(owner, name, killing_at(last, getattr(owner, name)))
            try:
                checkpoint.save(folder, 6, network, optimiser, {"step": 6}, keep=1)
                done = True
            except Killed:
                done = False
        step, notes = shelf.newest_whole(folder)
        assert step in (3, 6) and (damaged or not notes)
        checkpoint.clean(folder)
        assert all(path.name.startswith("step-") for path in folder.iterdir())
        if done:
            assert (step, shelf.steps(folder), notes) == (6, [6], []) and last > 12
            return
    raise AssertionError("saving made more calls than were tried")


def test_the_loss_curve_is_drawn_over_skipped_steps(tmp_path: Path):
    journal = Journal(tmp_path / "journal.jsonl")
    for step in range(1, 30):
        terms = {} if step == 4 else {"normals_cosine": 1 / step}
        journal.write({"step": step, "loss": None if step == 4 else 2 / step, "samples_per_s": 3.0} | terms)
    journal.close()
    curves.draw(tmp_path / "journal.jsonl", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_smoothed_curve_neither_lags_nor_leaves_out_an_end():
    assert curves.smooth([4.0, 2.0, 6.0]) == pytest.approx([4.0, 4.0, 6.0])
    slope = [3.0 * step for step in range(200)]
    assert curves.smooth(slope) == pytest.approx(slope)


def test_an_axis_says_unit_and_direction():
    assert curves.meaning("depth_abs_rel") == "share, lower is better"
    assert curves.meaning("alpha_iou") == "share, higher is better"
    assert curves.meaning("wait") == "share of the time, lower is better"
    assert curves.meaning("alpha_dice") == "before its weight, lower is better"


def test_runs_are_drawn_over_each_other_without_their_skipped_steps(tmp_path: Path):
    for name, metric in (("one", "alpha_iou"), ("two", "depth_abs_rel")):
        (tmp_path / name).mkdir()
        journal, metrics = (Journal(tmp_path / name / f"{kind}.jsonl") for kind in ("journal", "metrics"))
        for step in range(1, 9):
            journal.write({"step": step, "loss": None if step == 4 else 2 / step, "rate": 0.1, "epoch": 0})
        metrics.write({"step": 8, "samples": 4, metric: 0.25})
    found = curves.series(tmp_path / "one")
    assert found["loss"] == ([1, 2, 3, 5, 6, 7, 8], [2 / step for step in (1, 2, 3, 5, 6, 7, 8)])
    assert found["alpha_iou"] == ([8], [0.25])
    said = CliRunner().invoke(app, ["plot", str(tmp_path / "one"), str(tmp_path / "two"), "--out", f"{tmp_path}/c.png"])
    assert said.exit_code == 0 and (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "none").mkdir()
    with pytest.raises(DavidError, match="none: no steps in a journal there"):
        curves.compare([tmp_path / "one", tmp_path / "none"], tmp_path / "d.png")


def test_a_plain_display_tells_loss_rate_pace_memory_and_the_time_left():
    record = {"step": 5, "loss": 0.25, "rate": 1e-3, "samples_per_s": 80.04, "wait": 0.021, "memory_gb": 1.26}
    text = io.StringIO()
    shown = Plain(Console(file=text, width=200), start=0, stop=10)
    shown.update(record)
    shown.update(record | {"step": 6})  # too soon after the line before
    shown.update(record | {"step": 10, "loss": None, "gpu_memory_gb": 40.0})
    first, last = text.getvalue().splitlines()
    assert first.startswith("step 5/10  loss 0.2500  rate 1.0e-03  80.0 samples/s  waits 2 %  1.3 GB  ")
    assert last.startswith("step 10/10  skipped") and "1.3 + 40.0 GB" in last and last.endswith("0 s left")


class Slow:
    """A clock that goes on only where it is told that something took time."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_is_of_training_alone(shards: Path, tmp_path: Path, monkeypatch):
    """Each step takes 2 s, a quarter of it waiting; a picture 100 s, an evaluation 1,000 s, a checkpoint 10,000 s."""
    clock = Slow()

    def taking(seconds: float, function):
        def call(*args, **kwargs):
            clock.now += seconds
            return function(*args, **kwargs)

        return call

    def sheet(*_) -> np.ndarray:
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(loop, "Recorder", partial(Recorder, clock=clock))
    monkeypatch.setattr(Step, "__call__", taking(2.0, Step.__call__))
    monkeypatch.setattr(Loader, "wait_s", property(lambda self: 0.5, lambda self, _: None), raising=False)
    monkeypatch.setattr(pictures, "draw", taking(100, sheet))
    monkeypatch.setattr(loop, "evaluate", taking(1000, lambda *_: {"alpha_mae": 0.5}))
    monkeypatch.setattr(checkpoint, "take", taking(10_000, lambda *_: None))
    monkeypatch.setattr(checkpoint, "write", lambda *_, **__: None)
    monkeypatch.setattr(loop, "publish", lambda *_: None)  # of a checkpoint that is none
    monkeypatch.setattr(curves, "draw", lambda *_: None)
    settings = ["data.height=48", "data.width=32", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"]
    settings += ["model.reassemble=8,8,8,8", "batch_size=4", "steps=8", "log_every=3", "picture_every=2"]
    settings += ["evaluate_every=4", "checkpoint_every=5", "parallel=ddp"]
    recipe = override(recipes.recipe("smoke"), settings)
    loop.train(recipe, shards, tmp_path, device="cpu", speaks=False)
    records = list(read(tmp_path / "journal.jsonl"))
    assert [record["step"] for record in records] == list(range(1, 9))
    assert {(record["samples_per_s"], record["wait"]) for record in records} == {(2.0, 0.25)}
    assert clock.now == 8 * 2 + 5 * 100 + 2 * 1000 + 2 * 10_000
