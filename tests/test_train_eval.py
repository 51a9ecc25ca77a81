"""`david eval`: each sample once whatever the ranks, files that agree with each other, the best checkpoint kept."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from david.cli import app
from david.model import weights
from david.pack import manifest, read
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.train import checkpoint, distributed, journal, recipes
from david.train import precision as precision_module
from david.train.eval import best, measure
from david.train.eval.evaluate import Scores
from david.train.eval.metric import METRICS
from david.train.loop import train
from david.train.recipe import override

TINY = override(
    recipes.recipe("smoke"),
    [
        *("data.height=48", "data.width=32", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"),
        *("model.reassemble=8,8,8,8", "batch_size=4", "steps=10", "optim.warmup=3", "evaluate_every=2", "keep=1"),
        *("best=normals_mean_deg", "checkpoint_every=4"),
    ],
)


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "run"
    train(TINY, shards, out, device="cpu", speaks=False)
    return out


def measured(run: Path, shards: Path, out: Path, *more: str) -> dict[str, dict[str, float]]:
    """What `david eval` leaves: sample -> metric -> value."""
    result = CliRunner().invoke(
        app, ["eval", "--run", str(run), "--shards", str(shards), "--device", "cpu", "--out", str(out), *more]
    )
    assert result.exit_code == 0, result.output
    assert "normals_mean_deg" in result.stdout and str(out) in result.stdout.replace("\n", "")
    with (out / "samples.csv").open() as file:
        return {line["name"]: {name: float(line[name]) for name in METRICS} for line in csv.DictReader(file)}


def test_the_files_name_each_sample_once_and_agree(run: Path, shards: Path, tmp_path: Path):
    lines = measured(run, shards, tmp_path, "--worst", "2")
    assert list(lines) == [sample.key for sample in read(shards, split="val")]
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["samples"] == len(lines) == manifest.load(shards).samples("val")
    (newest,) = [record for record in journal.read(run / "metrics.jsonl") if record["step"] == 10]
    for name, value in content["metrics"].items():
        assert value == pytest.approx(np.mean([line[name] for line in lines.values()]), rel=1e-5)
        assert value == pytest.approx(newest[name], rel=1e-5)  # what training measured
    for head in ("depth", "normals", "alpha"):
        assert cv2.imread(str(tmp_path / f"worst-{head}.png")) is not None


def test_any_ranks_and_batches_score_each_sample_alike(run: Path, shards: Path, tmp_path: Path):
    alone = measured(run, shards, tmp_path / "alone", "--worst", "0", "--batch-size", "1")
    subject = measure.of_run(run, "newest")
    how = {"subject": subject, "shards": shards, "split": "val", "worst": 0, "device": "cpu"}
    scores = distributed.launch(2, measure.measure, out=tmp_path / "two", batch_size=3, **how)
    assert scores.ids.tolist() == list(range(len(alone)))  # 6 samples in batches of 4 on 2 ranks: copies do not count
    for place, line in enumerate(alone.values()):
        for name, value in line.items():
            assert scores.values[name][place] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_the_checkpoint_that_is_best_by_the_named_metric_is_kept(run: Path, shards: Path, tmp_path: Path):
    records = list(journal.read(run / "metrics.jsonl"))
    step = min(records, key=lambda record: record["normals_mean_deg"])["step"]
    assert checkpoint.steps(run / "checkpoints") == sorted({10, step}, reverse=True)
    lines = measured(run, shards, tmp_path, "--checkpoint", "best", "--worst", "0")
    value = np.mean([line["normals_mean_deg"] for line in lines.values()])
    assert value == pytest.approx(min(record["normals_mean_deg"] for record in records), rel=1e-5)


def test_more_or_less_is_better_as_the_metric_says(tmp_path: Path):
    lines = journal.Journal(tmp_path / "metrics.jsonl", 0)
    for step, value in ((2, 0.5), (4, 0.7), (6, 0.7), (8, 0.4)):
        lines.write({"step": step, "alpha_iou": value, "alpha_mae": value})
    assert best.best_step(tmp_path / "metrics.jsonl", "alpha_iou") == 4  # the first of equals
    assert best.best_step(tmp_path / "metrics.jsonl", "alpha_mae") == 8
    assert best.best_step(tmp_path / "metrics.jsonl", "depth_abs_rel") is None
    with pytest.raises(DavidError, match="best is depth_abs_rel; for the heads alpha there are alpha_mae"):
        override(TINY, ["model.heads=alpha", "best=depth_abs_rel"])


def test_the_worst_stand_first_and_what_was_not_measured_nowhere():
    values = {"alpha_iou": np.array([0.5, np.nan, 0.1, 0.5]), "alpha_mae": np.array([0.5, np.nan, 0.1, 0.5])}
    scores = Scores(np.array([3, 5, 7, 9]), values)
    assert scores.worst("alpha_iou", 8) == [7, 3, 9] and scores.worst("alpha_mae", 2) == [3, 9]
    assert scores.means() == {"samples": 4, "alpha_iou": pytest.approx(1.1 / 3), "alpha_mae": pytest.approx(1.1 / 3)}


def test_a_file_of_weights_scores_as_the_run_that_it_came_from(run: Path, shards: Path, tmp_path: Path):
    subject = measure.of_run(run, "newest")
    weights.save(subject.network(), tmp_path / "w.safetensors")
    of_file = measure.of_file(tmp_path / "w.safetensors", DataConfig(height=48, width=32))
    how = {"shards": shards, "split": "val", "batch_size": 4, "worst": 0, "device": "cpu", "out": tmp_path / "out"}
    for one, other in zip(*(measure.measure(s, **how).values.items() for s in (subject, of_file)), strict=True):
        assert one[0] == other[0] and np.array_equal(one[1], other[1], equal_nan=True)


def test_averaged_weights_are_the_ones_that_are_measured(shards: Path, tmp_path: Path):
    recipe = override(TINY, ["optim.average=0.5", "steps=4", "evaluate_every=0", "best=none"])
    train(recipe, shards, tmp_path / "run", device="cpu", speaks=False)
    subject = measure.of_run(tmp_path / "run", "newest")
    assert subject.source.name == checkpoint.AVERAGE
    (told,) = journal.read(tmp_path / "run" / "metrics.jsonl")  # by training, on the average too
    how = {"shards": shards, "split": "val", "batch_size": 4, "worst": 0, "device": "cpu", "out": tmp_path / "out"}
    means = measure.measure(subject, **how).means()
    assert means == pytest.approx({name: told[name] for name in means}, rel=1e-5)
    learnt = replace(subject, source=subject.source.with_name(checkpoint.MODEL))
    assert measure.measure(learnt, **how).means()["alpha_mae"] != pytest.approx(told["alpha_mae"], rel=1e-5)


def test_evaluation_computes_as_training_did_and_says_so(run: Path, shards: Path, tmp_path: Path):
    """bf16 on a CPU: in training and by `david eval` the same numbers, other ones than in fp32."""
    recipe = override(TINY, ["precision=bf16", "summation=ddp", "steps=2", "evaluate_every=0", "best=none"])
    train(recipe, shards, tmp_path / "run", device="cpu", speaks=False)
    (told,) = journal.read(tmp_path / "run" / "metrics.jsonl")
    found = {}
    for precision, more in (("bf16", ()), ("fp32", ("--precision", "fp32"))):
        measured(tmp_path / "run", shards, tmp_path / precision, "--worst", "1", "--batch-size", "4", *more)
        content = json.loads((tmp_path / precision / "metrics.json").read_text())
        assert content["precision"] == precision
        found[precision] = content["metrics"]
    assert found["bf16"] == {name: told[name] for name in found["bf16"]}
    assert found["fp32"] != found["bf16"] and found["fp32"] == pytest.approx(found["bf16"], rel=0.1, abs=0.01)
    with pytest.raises(DavidError, match="precision fp8: there are auto, fp32, bf16, fp16"):
        precision_module.known("fp8")


def test_what_is_not_there_is_named(run: Path, shards: Path, tmp_path: Path):
    with pytest.raises(DavidError, match="no run there"):
        measure.of_run(tmp_path / "nothing", "newest")
    with pytest.raises(DavidError, match="no checkpoint of step 3; there are 10"):
        measure.of_run(run, "3")
    with pytest.raises(DavidError, match="give a step, `newest` or `best`"):
        measure.of_run(run, "first")
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(DavidError, match="expected weights that david saved"):
        measure.of_file(tmp_path / "w.pth", DataConfig()).network()
