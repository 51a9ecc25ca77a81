"""The unofficial implementation's file is measured, trained on and gone on with, as a network of its own kind."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner
from unofficial_file import TINY, drawn

from david.cli import app
from david.model import config, weights
from david.model.pickled import ours
from david.pack.errors import DavidError
from david.train import recipes
from david.train.start import Start

SMALL = ("data.height=64", "data.width=48", "batch_size=2", "optim.warmup=1", "picture_every=0", "data.threads=1")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(config.MODELS, "unofficial", config.configure("unofficial", **TINY))
    torch.save({"model_state_dict": {f"module.{name}": t for name, t in drawn(0).items()}}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def call(*words: object) -> str:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def test_a_file_is_measured_and_trained_on_by_its_name_alone(file: Path, figures: Path, tmp_path: Path) -> None:
    assert Start(network=file).recipe() == recipes.recipe("unofficial-finetune")
    run, how = tmp_path / "run", ["--device", "cpu"]
    settings = [word for one in SMALL for word in ("--set", one)]
    call("train", "--from", file, "--shards", figures, "--out", run, "--steps", "3", *settings, *how)
    stored = json.loads((run / "recipe.json").read_text())["recipe"]
    assert stored["model"]["kind"] == "unofficial" and stored["name"] == "unofficial-finetune"
    began = {ours(name): tensor for name, tensor in drawn(0).items()}
    ended = weights.load(run / "weights.safetensors").state_dict()
    same = {name for name, tensor in ended.items() if tensor.equal(began[name])}
    held = {name for name in began if name.startswith(("second_heads.", "unused."))}
    statistics = {name for name in began if "running_" in name or name.endswith("num_batches_tracked")}
    assert same == held | statistics  # all that is used has learnt
    far = max((tensor.float() - began[name].float()).abs().max() for name, tensor in ended.items())
    assert 0 < far < 1e-3  # from where the file was, not from noise

    told = call("eval", "--weights", file, "--run", run, "--shards", figures, "--out", tmp_path / "both", *how,
                "--height", 64, "--width", 48, "--worst", 0)  # fmt: skip
    assert "1  unofficial-finetune after step 3" in told and "2  w.pth" in told
    one, other, _ = json.loads((tmp_path / "both" / "comparison.json").read_text())["subjects"]
    assert one["metrics"].keys() == other["metrics"].keys() and len(one["metrics"]) > 8
    assert one["metrics"] != other["metrics"]
    assert one["metrics"] == pytest.approx(other["metrics"], rel=0.2, abs=0.05)


def test_a_file_of_another_network_is_refused_with_what_fitted(file: Path, figures: Path, tmp_path: Path) -> None:
    torch.save({name: torch.ones(2) for name in drawn(0)}, tmp_path / "other.pth")
    words = [
        "train",
        "--from",
        tmp_path / "other.pth",
        "--shards",
        figures,
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, [*map(str, words), *(word for one in SMALL for word in ("--set", one))])
    assert isinstance(result.exception, DavidError)
    assert "expected weights that fill at least 50% of the network's parameters, found 0.0%" in str(result.exception)
