"""`david eval`: each sample once whatever the ranks, files that agree with each other, the best checkpoint kept."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from smallest import SMALLEST
from typer.testing import CliRunner

from david.cli import app
from david.model import label
from david.pack import read
from david.pack.errors import DavidError
from david.pack.shards import manifest
from david.train import distributed, journal, recipes, shelf
from david.train.eval import measure
from david.train.eval.evaluate import Scores
from david.train.loop import train
from david.train.metrics import best
from david.train.metrics.table import METRICS
from david.train.recipe import override
from david.train.start import Start
from david.train.subject import Subject, of_path, of_run

pytestmark = pytest.mark.usefixtures("warm")
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        *("batch_size=4", "steps=10", "optim.warmup=3", "evaluate_every=2", "keep=1"),
        *("best=normals_mean_deg", "checkpoint_every=4"),
    ],
)

DATA = replace(TINY.data, decode="cpu")  # as its run settles it
MEASURED = [name for name, metric in METRICS.items() if metric.head in TINY.model.heads]


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture(scope="module")
def run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("eval") / "run"
    train(TINY, shards, out, device="cpu", speaks=False)
    return out


def named(run: Path) -> Path:
    return Path(json.loads((run / "recipe.json").read_text())["places"][0]["folder"])


def measured(run: Path, out: Path, *more: str) -> dict[str, dict[str, float]]:
    """What `david eval` leaves on the shards that the run knows of: sample -> metric -> value."""
    result = CliRunner().invoke(app, ["eval", "--run", str(run), "--device", "cpu", "--out", str(out), *more])
    assert result.exit_code == 0, result.output
    assert "normals_mean_deg" in result.stdout and str(out) in result.stdout.replace("\n", "")
    with (out / "samples.csv").open() as file:
        return {line["name"]: {name: float(line[name]) for name in MEASURED} for line in csv.DictReader(file)}


def test_the_files_name_each_sample_once_and_agree(run: Path, shards: Path, tmp_path: Path):
    lines = measured(run, tmp_path, "--worst", "2")
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
    alone = measured(run, tmp_path / "alone", "--worst", "0", "--batch-size", "1")
    subject = of_run(run, "newest")
    how = {"subject": subject, "shards": shards, "split": "val", "worst": 0, "device": "cpu"}
    scores = distributed.launch(2, measure.measure, out=tmp_path / "two", batch_size=3, **how)
    assert scores.ids.tolist() == list(range(len(alone)))  # 6 samples in batches of 4 on 2 ranks: copies do not count
    for place, line in enumerate(alone.values()):
        for name, value in line.items():
            assert scores.values[name][place] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_the_checkpoint_that_is_best_by_the_named_metric_is_kept(run: Path, shards: Path, tmp_path: Path):
    records = list(journal.read(run / "metrics.jsonl"))
    step = min(records, key=lambda record: record["normals_mean_deg"])["step"]
    assert shelf.steps(run / "checkpoints") == sorted({10, step}, reverse=True)
    lines = measured(run, tmp_path, "--checkpoint", "best", "--worst", "0")
    value = np.mean([line["normals_mean_deg"] for line in lines.values()])
    assert value == pytest.approx(min(record["normals_mean_deg"] for record in records), rel=1e-5)


def test_more_or_less_is_better_as_the_metric_says(tmp_path: Path):
    lines = journal.Journal(tmp_path / "metrics.jsonl")
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


def test_the_weights_that_a_run_leaves_are_those_of_its_best_checkpoint_and_score_alike(run: Path, tmp_path: Path):
    file, best = run / "weights.safetensors", of_run(run, "best")
    assert file.samefile(best.source) and load_file(file).keys() == best.network().state_dict().keys()
    assert (about := label.read(file)) and about["step"] == int(best.source.parent.name[5:]) and about["david"]
    assert of_path(file) == Subject("weights.safetensors", run / "weights", file, None, DATA, TINY.precision)
    lines = measured(run, tmp_path / "run", "--checkpoint", "best", "--worst", "0")
    words = ["--weights", str(file), "--shards", str(named(run)), "--device", "cpu", "--worst", "0"]
    result = CliRunner().invoke(app, ["eval", *words, "--out", str(tmp_path / "file")])
    assert result.exit_code == 0, result.output
    texts = [(tmp_path / name / "samples.csv").read_text() for name in ("run", "file")]
    assert lines and texts[0] == texts[1]


def test_checkpoints_are_weights_too_also_those_that_older_versions_saved(run: Path, tmp_path: Path):
    newest = of_run(run, "newest")
    folder = newest.source.parent
    expected = newest.network().state_dict()
    old = shutil.copytree(folder, tmp_path / "checkpoints" / folder.name)
    save_file(load_file(old / shelf.MODEL), old / shelf.MODEL)  # without a word about itself
    for path in (folder, folder / shelf.MODEL, old / shelf.MODEL):
        subject = of_path(path)
        assert subject.data == DATA and subject.folder.name == folder.name and not subject.folder.is_dir()
        assert all(value.equal(expected[name]) for name, value in subject.network().state_dict().items())
        assert Start(network=path).recipe() == replace(TINY, data=replace(DATA, decode="auto"))  # not as on a CPU
    with pytest.raises(DavidError, match=r"damaged \(model\.safetensors is not what SHA256SUMS says\)"):
        of_path(old)


def test_averaged_weights_are_the_ones_that_are_measured(shards: Path, tmp_path: Path):
    recipe = override(TINY, ["optim.ema=0.5", "steps=4", "evaluate_every=0", "best=none"])
    train(recipe, shards, tmp_path / "run", device="cpu", speaks=False)
    subject = of_run(tmp_path / "run", "newest")
    assert subject.source.name == shelf.AVERAGE
    (told,) = journal.read(tmp_path / "run" / "metrics.jsonl")  # by training, on the average too
    how = {"shards": shards, "split": "val", "batch_size": 4, "worst": 0, "device": "cpu", "out": tmp_path / "out"}
    means = measure.measure(subject, **how).means()
    assert means == pytest.approx({name: told[name] for name in means}, rel=1e-5)
    learnt = replace(subject, source=subject.source.with_name(shelf.MODEL))
    assert measure.measure(learnt, **how).means()["alpha_mae"] != pytest.approx(told["alpha_mae"], rel=1e-5)


def test_evaluation_computes_as_training_did_and_says_so(run: Path, shards: Path, tmp_path: Path):
    """bf16 on a CPU: in training and by `david eval` the same numbers, other ones than in fp32."""
    recipe = override(TINY, ["precision=bf16", "parallel=ddp", "steps=2", "evaluate_every=0", "best=none"])
    train(recipe, shards, tmp_path / "run", device="cpu", speaks=False)
    (told,) = journal.read(tmp_path / "run" / "metrics.jsonl")
    found = {}
    for precision, more in (("bf16", ()), ("fp32", ("--precision", "fp32"))):
        measured(tmp_path / "run", tmp_path / precision, "--worst", "1", "--batch-size", "4", *more)
        content = json.loads((tmp_path / precision / "metrics.json").read_text())
        assert content["precision"] == precision
        found[precision] = content["metrics"]
    same = pytest.approx({name: told[name] for name in found["bf16"]}, rel=2e-5)  # oneDNN rounds batches unalike
    assert found["bf16"] == same
    assert found["fp32"] != same and found["fp32"] == pytest.approx(found["bf16"], rel=0.1, abs=0.01)
    with pytest.raises(DavidError, match="precision fp8: there are auto, fp32, bf16, fp16"):
        replace(of_run(run, "newest"), precision="fp8")


def test_what_is_not_there_is_named(run: Path, shards: Path, tmp_path: Path):
    with pytest.raises(DavidError, match="no run there"):
        of_run(tmp_path / "nothing", "newest")
    with pytest.raises(DavidError, match="no checkpoint of step 3; there are 10"):
        of_run(run, "3")
    with pytest.raises(DavidError, match="give a step, `newest` or `best`"):
        of_run(run, "first")
    torch.save({}, tmp_path / "w.pth")
    with pytest.raises(DavidError, match="expected weights of the network `unofficial`, found no tensors"):
        of_path(tmp_path / "w.pth").network()
