"""`david bench predict`: the plain loop writes what david writes, and both are measured on the same files."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile_pictures import scene
from rich.console import Console
from test_model_predict import onnx_file
from typer.testing import CliRunner

import david
from david.bench.peers.plain_predictor import SAVES, PlainPredictor
from david.bench.suites import predict as suite
from david.cli import app
from david.model.predict import inputs, runner
from david.pack.errors import DavidError


@pytest.mark.parametrize("shape", [(60, 90), (91, 60), (1700, 1200)])
def test_the_plain_loop_writes_what_david_writes(shape: tuple[int, int], tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "all.onnx", "relative_depth", "normals", "alpha", side=64)
    folder, theirs, ours = tmp_path / "in", tmp_path / "plain", tmp_path / "david"
    for made in (folder, theirs):
        made.mkdir()
    cv2.imwrite(str(folder / "a.png"), scene(*shape)[..., ::-1])
    PlainPredictor(file, 1).write(folder / "a.png", theirs, SAVES)
    (outcome,) = runner.run(runner.Job(david.load(file), ours, SAVES), inputs.listed([str(folder)]).inputs)
    assert sorted(outcome.files) == sorted(path.name for path in theirs.iterdir())
    for name in outcome.files:
        one, other = (cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED) for out in (ours, theirs))
        assert one is not None and other is not None and one.shape == other.shape and one.dtype == other.dtype
        apart = np.abs(one.astype(int) - other.astype(int))
        most, mean = {"a_depth.png": (16, 1), "a_picture.jpg": (40, 1)}.get(name, (1, 0.01))
        assert apart.max() <= most and apart.mean() < mean, (name, apart.max(), apart.mean())


def test_both_are_measured_on_one_core_and_on_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = onnx_file(tmp_path / "all.onnx", "relative_depth", "normals", "alpha", side=32)
    monkeypatch.setattr(suite, "in_a_process", lambda work, *given: work(*given))
    monkeypatch.setattr(suite, "_only", lambda cores: None)
    result = suite.measure(None, file, 4, 0.02, ("picture", "alpha"), 1, Console(quiet=True))
    assert {name.split(",")[0] for name in result.figures} == {"david", "plain"}
    for figures in result.figures.values():
        assert set(figures) == {"rate", "latency", "memory after a quarter", "memory"}
        assert all(figure["median"] > 0 for figure in figures.values())
    assert set(result.about["ratios"]) == {"images/s over plain", "latency under plain"}
    assert json.dumps(result.row())
    result = suite.measure(None, file, 2, 0.02, ("picture",), 1, Console(quiet=True), (1,))
    assert list(result.figures) == ["david, 1 core", "plain, 1 core"] and "on 1 core;" in result.verdict
    with pytest.raises(DavidError, match=r"--cores 9999: this process may use \d+"):
        suite.measure(None, file, 2, 0.02, ("picture",), 1, Console(quiet=True), (1, 9999))


def test_what_the_plain_loop_does_not_write_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "predict", "--save", "points", "--out", str(tmp_path / "rows.jsonl")])
    assert isinstance(done.exception, DavidError) and "the plain loop writes picture" in str(done.exception)
    done = CliRunner().invoke(app, ["bench", "predict", "--images", str(tmp_path / "nowhere")])
    assert isinstance(done.exception, DavidError) and "no such file or folder" in str(done.exception)
