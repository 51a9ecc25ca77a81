"""Several measured side by side: ONNX files, our own networks and a constant answer, by one code on one set."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smallest import SIDE, network
from test_model_predict import onnx_file
from typer.testing import CliRunner

from david.cli import app
from david.model import weights
from david.model.predict.engine import Engine, TorchEngine
from david.model.predict.predictor import Predictor
from david.pack import read
from david.pack.shards import manifest
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.train import distributed
from david.train.eval import measure, subjects
from david.train.eval.answers import Answers, Constant, logits
from david.train.eval.evaluate import Scores, score
from david.train.metrics.table import METRICS

pytestmark = pytest.mark.usefixtures("warm")


def call(*words: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, words), "--device", "cpu", "--worst", "1"])
    assert result.exit_code == 0, result.output
    return result.stdout


def ours(path: Path, seed: int = 0) -> Path:
    weights.save(network(seed=seed), path)
    return path


def scored(network: torch.nn.Module, shards: Path, config: DataConfig) -> Scores:
    how = {"batch_size": 4, "seed": 0, "train": False, "device": "cpu"}
    with distributed.joined("cpu") as world, Loader(shards, "val", config, **how) as loader:
        return score(network, loader, world)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 0.5, 1e-30])), min_size=1))
def test_alpha_becomes_finite_logits_that_say_the_same(shares: list[float]) -> None:
    alpha = torch.tensor(shares, dtype=torch.float32)
    said = logits(alpha)
    assert said.isfinite().all() and said.dtype == torch.float32
    assert (said.sigmoid() - alpha).abs().max() <= 1.2e-7
    assert torch.equal(said > 0, alpha > 0.5)


def test_a_network_scores_as_a_predictor_as_it_does_by_itself(figures: Path) -> None:
    """On squares of the size that both see, where nothing is resized."""
    model = network()
    config = DataConfig(height=SIDE, width=SIDE)
    found = [scored(one, figures, config) for one in (model, Answers(Predictor((TorchEngine(model),), side=SIDE)))]
    assert found[0].ids.tolist() == found[1].ids.tolist()
    for name, values in found[0].values.items():
        np.testing.assert_allclose(found[1].values[name], values, rtol=2e-4, atol=2e-5, err_msg=name)


class Truth(Engine):
    """Says what is true of the sample whose padded image it sees."""

    fields, side = ("relative_depth", "normals", "alpha"), 48

    def __init__(self, samples: list):
        self.samples = samples

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        def square(plane: np.ndarray) -> np.ndarray:  # 48 x 36 with its border, as the official demo pads
            return np.pad(plane, ((0, 0), (6, 6), *([(0, 0)] * (plane.ndim - 2))), mode="edge")

        said: dict[str, list] = {name: [] for name in self.fields}
        for image in images:
            sample = min(self.samples, key=lambda one: np.abs(square(one.rgb).astype(int) - image).sum())
            said["relative_depth"].append(square(np.nan_to_num(sample.depth_m, nan=9, posinf=9))[None])
            said["normals"].append(square(np.nan_to_num(sample.normals)).transpose(2, 0, 1))
            said["alpha"].append(square(sample.alpha.astype(np.float32) / 255)[None])
        return {name: np.stack(values).astype(np.float32) for name, values in said.items()}


def test_a_predictor_that_says_the_truth_has_no_error(figures: Path) -> None:
    answers = Answers(Predictor((Truth(list(read(figures, split="val"))),), side=48))
    means = scored(answers, figures, DataConfig()).means()
    assert means["depth_abs_rel"] < 1e-3 and means["normals_mean_deg"] < 0.3
    assert means["alpha_mae"] < 1e-6 and means["alpha_iou"] == 1


def test_official_ours_and_a_constant_answer_stand_in_one_table(figures: Path, tmp_path: Path) -> None:
    """Each with the figures that it has alone."""
    pytest.importorskip("onnxruntime")
    files = [
        onnx_file(tmp_path / "all.onnx", "relative_depth", "normals", "alpha"),
        onnx_file(tmp_path / "depth.onnx", "relative_depth", batch=1),
    ]
    mine = ours(tmp_path / "mine.safetensors")
    words = [word for file in files for word in ("--onnx", file)]
    out = tmp_path / "out"
    printed = call(*words, "--weights", mine, "--shards", figures, "--out", out)
    told = json.loads((out / "comparison.json").read_text())
    assert [one["name"] for one in told["subjects"]] == [
        "mine.safetensors",
        "all.onnx",
        "depth.onnx",
        "a constant answer",
    ]
    assert (
        told["samples"] == manifest.load(figures).samples("val") and told["subjects"][1]["precision"] == "as exported"
    )
    for line in ("1  mine.safetensors, in fp32", "2  all.onnx, as exported", "4  a constant answer"):
        assert line in printed
    with (out / "comparison.csv").open() as file:
        lines = {line["metric"]: line for line in csv.DictReader(file)}
    said = [name for name, one in METRICS.items() if one.head in ("depth", "normals", "alpha")]
    assert list(lines) == said == list(told["units"])
    assert lines["alpha_mae"]["depth.onnx"] == "" and lines["alpha_iou"]["better"] == "higher"
    for one, file in zip(told["subjects"], [["--weights", mine], *(["--onnx", file] for file in files)], strict=False):
        alone = tmp_path / "alone" / one["folder"]
        assert one["name"] in call(*file, "--shards", figures, "--out", alone)
        for name in ("metrics.json", "samples.csv"):
            assert (out / one["folder"] / name).read_bytes() == (alone / name).read_bytes()
        assert json.loads((alone / "metrics.json").read_text())["metrics"] == one["metrics"]
    flat = scored(Constant(), figures, DataConfig()).means()
    assert told["subjects"][3]["metrics"] == pytest.approx({name: flat[name] for name in said})
    red = told["subjects"][1]["metrics"]["depth_abs_rel"], told["subjects"][2]["metrics"]["depth_abs_rel"]
    assert red[0] != pytest.approx(red[1], rel=1e-3)  # the same channel, as distance and as nearness


def test_one_may_stand_beside_the_constant_answer_alone_and_json_is_what_is_written(
    figures: Path, tmp_path: Path
) -> None:
    words = [
        "--weights",
        ours(tmp_path / "w.safetensors"),
        "--constant",
        "--shards",
        figures,
        "--out",
        tmp_path / "out",
    ]
    assert call(*words, "--json") == (tmp_path / "out" / "comparison.json").read_text()
    assert (tmp_path / "out" / "w.safetensors" / "worst-depth.png").is_file()
    assert not list((tmp_path / "out" / "a-constant-answer").glob("*.png"))


def test_two_of_one_name_have_a_folder_each_and_are_measured_on_ranks_alike(figures: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    both = [ours(tmp_path / "a" / "w.safetensors"), ours(tmp_path / "b" / "w.safetensors", seed=1)]
    file = onnx_file(tmp_path / "x.onnx", "normals", batch=1)
    words = ["--weights", both[0], "--weights", both[1], "--onnx", file, "--shards", figures]
    call(*words, "--out", tmp_path / "one")
    alone = json.loads((tmp_path / "one" / "comparison.json").read_text())
    assert [one["folder"] for one in alone["subjects"][:2]] == ["w.safetensors", "w.safetensors-2"]
    assert alone["subjects"][0]["metrics"] != alone["subjects"][1]["metrics"]
    found = subjects.named([], both, [file], "newest", "cpu")
    places = [(one, tmp_path / "two" / str(number), 0) for number, one in enumerate(found)]
    how = {"shards": (figures,), "split": "val", "batch_size": 3, "device": "cpu"}
    for one, scores in zip(
        alone["subjects"][:3], distributed.launch(2, measure.measure_all, subjects=places, **how), strict=True
    ):
        means = {name: scores.means()[name] for name in one["metrics"]}
        assert means == pytest.approx(one["metrics"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--onnx", "gone.onnx"], "gone.onnx: no such file; expected an ONNX file"),
        (["--onnx", "w.safetensors"], "w.safetensors: found '.safetensors'; expected an ONNX file ending in .onnx"),
        (["--onnx", "real.onnx", "--precision", "bf16"], "--precision: an ONNX file computes as it was exported"),
        (["--onnx", "text.onnx"], "text.onnx: no ONNX file, or not a whole one"),
        (["--weights", "w.safetensors", "--weights", "other.safetensors"], "name one size for all with --height and"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    words: list[str], told: str, figures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    from david.train import recipes
    from david.train.recipe import override, to_json

    monkeypatch.chdir(tmp_path)
    ours(Path("w.safetensors"))
    recipe = override(recipes.recipe("smoke"), ["data.height=64", "data.width=48"])
    weights.save(network(), Path("other.safetensors"), recipe=to_json(recipe))
    Path("text.onnx").write_text("no model")
    onnx_file(Path("real.onnx"), "normals", batch=1)
    result = CliRunner().invoke(app, ["eval", *words, "--shards", str(figures), "--device", "cpu"])
    assert result.exit_code != 0 and told in str(result.exception), result.exception
