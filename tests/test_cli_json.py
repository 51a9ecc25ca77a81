"""With `--json` the standard output is JSON and nothing else, whatever is printed on the way."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from david import cli
from david.bench import commands
from david.bench.harness import Figure
from david.bench.result import Result
from david.bench.suites import learn, pack, peers, training
from david.train import recipes
from david.train.loop import train
from david.train.recipe import override

SMALL = ["data.height=16", "data.width=12", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"]
SMALL += ["model.reassemble=8,8,8,8", "batch_size=4", "steps=1", "picture_every=0"]
SETS = [word for setting in SMALL for word in ("--set", setting)]
FOUND = Result.of("any", "a title", {"david": {"rate": Figure("samples/s", (1.0, 2.0))}}, verdict="a verdict")


def said(words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What a command prints on its two streams."""
    monkeypatch.setattr(sys, "argv", ["david", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capfd.readouterr()
    assert not end.value.code, err
    return out, err


def noisy(*args: Any, **how: Any) -> Result:
    """A measurement that speaks by all ways there are, as libraries and ranks do."""
    print("by Python")
    commands.console.print("by rich")
    os.write(1, b"by C\n")
    return FOUND


@pytest.mark.parametrize("suite", ["", "load", "step", "pack", "learn", "load --peers"])
def test_bench_prints_its_row_alone(suite: str, shards: Path, raw: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    for module in (training, pack, learn, peers):
        monkeypatch.setattr(module, "measure", noisy)
    monkeypatch.setattr(learn, "picture", lambda work, steps, out: None)
    rows = tmp_path / "rows.jsonl"
    where = {"pack": [str(raw)], "load --peers": [str(raw)], "learn": []}.get(suite, ["--shards", str(shards)])
    out, err = said(["bench", *suite.split(), *where, "--out", str(rows), "--json"], monkeypatch, capfd)
    assert json.loads(out) == json.loads(rows.read_text())
    assert json.loads(out)["figures"] == FOUND.figures and json.loads(out)["verdict"] == "a verdict"
    assert all(f"by {whom}\n" in err for whom in ("Python", "rich", "C"))
    assert "samples/s" in err and "a verdict" in err and "row added" in err


def test_bench_measures_as_it_does_without(shards: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    words = ["bench", "load", "--shards", str(shards), *SETS, "--batches", "1", "--rounds", "1", "--device", "cpu"]
    out, err = said([*words, "--out", str(tmp_path / "rows"), "--json"], monkeypatch, capfd)
    assert json.loads(out)["figures"]["load"]["rate"] and "samples/s" in err


def test_eval_prints_what_it_writes(shards: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    run, out = tmp_path / "run", tmp_path / "found"
    train(override(recipes.recipe("smoke"), SMALL), shards, run, device="cpu", speaks=False)
    capfd.readouterr()
    words = ["eval", "--run", str(run), "--out", str(out), "--worst", "0", "--device", "cpu"]
    told, err = said([*words, "--json"], monkeypatch, capfd)
    assert json.loads(told) == json.loads((out / "metrics.json").read_text()) and "median" in err
    assert "median" in said(words, monkeypatch, capfd)[0]


def test_a_file_that_takes_no_row_is_refused_before_anything_is_measured(shards: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr(training, "measure", noisy)
    monkeypatch.setattr(sys, "argv", ["david", "bench", "load", "--shards", str(shards), "--out", "/proc/nowhere/rows"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (1, "") and err.startswith("david: /proc/nowhere: ") and err.count("\n") == 1
