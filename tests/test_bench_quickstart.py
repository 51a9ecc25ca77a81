"""The quickstart in small: every file that it names at its end is there, and what it trained is of use everywhere."""

import io
import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from smallest import SMALLEST
from typer.testing import CliRunner

import david
from david.bench import quickstart
from david.cli import app
from david.pack.synth import layout
from david.train import recipes
from david.train.recipe import override
from david.train.use.desk import Desk


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, drawn) -> tuple[Path, str]:
    """Its folder, and what it said."""
    small, said = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "parallel=ddp"]), io.StringIO()
    out = tmp_path_factory.mktemp("quickstart") / "q"
    with pytest.MonkeyPatch.context() as patch, drawn():
        patch.setattr(recipes, "recipe", lambda name: small)
        patch.setattr(layout, "render", partial(layout.render, height=96, width=72))
        quickstart.run(out, samples=24, steps=2, seed=0, console=Console(file=said, width=200))
    return out, said.getvalue()


def ask(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_file_that_the_quickstart_names_is_there(done: tuple[Path, str]) -> None:
    named = [line.split()[0] for line in done[1].splitlines()[-5:]]
    assert len(named) == 5
    for path in named:
        assert Path(path).stat().st_size > 500


def test_what_it_trained_goes_through_predict_export_eval_and_demo(done: tuple[Path, str], tmp_path: Path) -> None:
    run, shards = done[0] / "run", done[0] / "shards"
    assert f"david predict PHOTO --weights {run}" in done[1]
    sample = next(iter(david.pack.read(shards, "val")))  # type: ignore[attr-defined]
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), sample.rgb[..., ::-1])
    out = david.load(run).predict(sample.rgb)

    ask("predict", photo, "--weights", run, "--out", tmp_path / "ours", "--save", "npz,picture")
    saved = np.load(tmp_path / "ours" / "photo_fields.npz")
    for name in ("relative_depth", "normals", "alpha"):
        assert np.allclose(saved[name], out[name], atol=1e-5)

    ask("export", "--weights", run, "--out", tmp_path / "net.onnx", "--size", 48)
    ask("predict", photo, "--onnx", tmp_path / "net.onnx", "--out", tmp_path / "theirs", "--save", "npz")
    saved = np.load(tmp_path / "theirs" / "photo_fields.npz")
    for name in ("relative_depth", "normals", "alpha"):
        assert np.abs(saved[name] - out[name]).max() < 1e-3

    told = ["--shards", shards, "--run", run, "--onnx", tmp_path / "net.onnx", "--out", tmp_path / "eval", "--json"]
    table = json.loads(ask("eval", *told))
    assert len(table["subjects"]) == 3  # with a constant answer

    answer = Desk(david.load(run), tmp_path / "desk").picture(photo, "photo.png", 60.0, ["npz"])
    assert set(answer.views) >= {"normals", "alpha"}
