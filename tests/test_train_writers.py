"""Who hears of a run: TensorBoard, W&B offline and MLflow in a folder, each through the real package."""

from pathlib import Path

import numpy as np
import pytest
from smallest import SMALLEST
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from david.cli import app
from david.pack.errors import DavidError
from david.train import loop, recipes, writers
from david.train.journal import read
from david.train.recipe import override

TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=4", "optim.warmup=3", "checkpoint_every=2"),
        "evaluate_every=2",
    ],
)
SHEET = np.zeros((8, 6, 3), np.uint8)


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


def test_tensorboard_hears_what_the_journal_says_and_sees_pictures(shards: Path, tmp_path: Path):
    loop.train(TINY, shards, tmp_path, device="cpu", speaks=False)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = list(read(tmp_path / "journal.jsonl"))
    for name in ("loss", "normals_cosine", "norm", "rate", "samples_per_s", "wait", "memory_gb"):
        told = [(event.step, event.value) for event in board.Scalars(f"train/{name}")]
        assert told == [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines]
    measured = [(line["step"], pytest.approx(line["alpha_iou"])) for line in read(tmp_path / "metrics.jsonl")]
    assert [(event.step, event.value) for event in board.Scalars("val/alpha_iou")] == measured and len(measured) == 2
    for event, step in zip(board.Images("held-out"), (0, 4), strict=True):
        sheet = tmp_path / "pictures" / f"step-{step:08d}.png"
        assert event.step == step and event.encoded_image_string == sheet.read_bytes()


def test_wandb_hears_a_run_that_goes_on_from_an_earlier_step(tmp_path: Path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for steps in ((1, 2, 3), (2, 3, 4)):
        (_, writer) = writers.writers(("wandb",), tmp_path, steps[0] - 1, {"optim": {"rate": 0.1}})
        for step in steps:
            writer.scalars(step, {"train/loss": 1 / step})
        writer.picture(steps[-1], "held-out", SHEET)
        writer.close()
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2 and len({run.name.rsplit("-", 1)[1] for run in runs}) == 1  # one run there for both
    assert all(list(run.glob("*.wandb")) and list(run.rglob("*.png")) for run in runs)


def test_mlflow_keeps_one_run_for_one_folder(tmp_path: Path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    for steps in ((1, 2, 3), (4, 5)):
        (_, writer) = writers.writers(("mlflow",), tmp_path, steps[0] - 1, {"optim": {"rate": 0.1}})
        for step in steps:
            writer.scalars(step, {"train/loss": 1 / step, "train/norm": 2.0})
        writer.picture(steps[-1], "held-out", SHEET)
        writer.close()
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("david").experiment_id])
    assert run.data.params == {"optim.rate": "0.1"} and run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / step) for step in range(1, 6)]
    assert len(client.list_artifacts(run.info.run_id, "held-out")) == 2


def test_an_unknown_or_missing_tracker_is_named_before_anything_is_written(shards: Path, tmp_path: Path, monkeypatch):
    with pytest.raises(DavidError, match="--track neptune: there are wandb and mlflow"):
        writers.check(("neptune",))
    monkeypatch.setattr(writers, "find_spec", lambda name: None)
    words = ["train", "--shards", str(shards), "--out", str(tmp_path / "run"), "--track", "wandb"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, DavidError) and 'pip install -e ".[wandb]"' in str(result.exception)
    assert not (tmp_path / "run").exists()
