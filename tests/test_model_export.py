"""Exported files: what they say under the official demo's processing, that they say no more than the network, and that
nothing is left where they would."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from smallest import SMALLEST, network
from typer.testing import CliRunner

import david
from david.cli import app
from david.model.export import check, contract, export, to_onnx
from david.model.export.tasks import chosen
from david.pack.errors import DavidError
from david.pack.files import sha256
from david.train import recipes
from david.train.loop import train
from david.train.recipe import override

SIDE = 64
SMALL = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "steps=4", "parallel=ddp", "evaluate_every=4"])


@pytest.fixture(scope="module", autouse=True)
def once() -> Any:
    """Each graph is made once: a network's exporter takes ten seconds, and tests ask for the same ones."""
    made: dict[Any, bytes] = {}
    really = torch.onnx.export

    def remembered(program: Any, **how: Any) -> Any:
        weights = b"".join(one.detach().numpy().tobytes() for one in program.state_dict.values())
        key = str(program.graph), hashlib.sha256(weights).hexdigest()
        if key not in made:
            made[key] = really(program, **how).model_proto.SerializeToString()
        return SimpleNamespace(model_proto=onnx.load_from_string(made[key]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", remembered)
        yield


@pytest.fixture(scope="module")
def run(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "run"
    train(SMALL, figures, out, device="cpu", speaks=False)
    return out


@pytest.fixture(scope="module")
def exported(run: Path, figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network as a multi-task file, by the command."""
    path = tmp_path_factory.mktemp("exported") / "net.onnx"
    words = ["--weights", str(run), "--out", str(path), "--size", str(SIDE), "--check", str(figures), "--json"]
    result = CliRunner().invoke(app, ["export", *words])
    assert result.exit_code == 0, result.output
    path.with_suffix(".json").write_text(result.stdout)
    return path


@pytest.fixture(scope="module")
def depth_alone(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "depth.onnx"
    export(david.model.weights.load(run / "weights.safetensors"), path, task="depth", size=SIDE, timed=False)
    return path


def demo(path: Path, rgb: np.ndarray) -> list[np.ndarray]:
    """What the official demo makes of a picture with a file, after its contract's words: the outputs by order, in the
    picture's size; depth (H, W), normals (H, W, 3), foreground (H, W)."""
    session = onnxruntime.InferenceSession(path)
    (only,) = session.get_inputs()
    side = only.shape[2]
    height, width = rgb.shape[:2]
    longest = max(height, width)
    above, before = (longest - height) // 2, (longest - width) // 2
    padding = ((above, longest - height - above), (before, longest - width - before), (0, 0))
    image = np.pad(rgb[:, :, ::-1], padding, mode="edge")  # BGR from here on
    while image.shape[0] > 1536:
        image = cv2.pyrDown(image)
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    given = np.moveaxis(image.astype(np.float32) / 255.0, 2, 0)[None]
    said = []
    for output in session.run(None, {only.name: given}):
        planes = output[0] if output.ndim == 4 else output
        large = [cv2.resize(one, (longest, longest), interpolation=cv2.INTER_CUBIC) for one in planes]
        whole = np.stack(large, -1)[above : above + height, before : before + width]
        if whole.shape[-1] == 3:
            whole = whole / np.linalg.norm(whole, axis=-1, keepdims=True)
        said.append(whole if whole.shape[-1] == 3 else whole[..., 0])
    return said


def picture(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height).uniform(0, 255, (6, 5, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height)).round().astype(np.uint8)


@pytest.mark.parametrize("shape", [(64, 64), (97, 40), (40, 97), (1700, 1201), (7, 5)])
def test_the_official_demo_says_with_the_file_what_the_network_says(
    shape: tuple[int, int], run: Path, exported: Path, depth_alone: Path
) -> None:
    rgb = picture(*shape)
    own = david.load(run, size=SIDE, device="cpu", precision="fp32").predict(rgb)
    depth, normals, alpha = demo(exported, rgb)
    assert np.abs(depth - own.relative_depth).max() < 1e-3
    assert np.abs(normals - own.normals).max() < 1e-3
    assert np.abs(np.clip(alpha, 0, 1) - own.alpha).max() < 1e-3
    (nearness,) = demo(depth_alone, rgb)
    assert np.abs(-nearness - own.relative_depth).max() < 1e-3
    for file in (exported, depth_alone):
        out = david.load(file, device="cpu").predict(rgb)
        for name, values in out.items():
            assert np.abs(values - own[name]).max() < 1e-3, (file, name)
    assert set(david.load(depth_alone, device="cpu").fields) == {"relative_depth"}


def test_the_file_is_one_takes_any_number_of_images_and_says_what_made_it(
    exported: Path, run: Path, figures: Path
) -> None:
    assert [path.name for path in exported.parent.iterdir() if path.suffix != ".json"] == ["net.onnx"]
    model = onnx.load(exported, load_external_data=False)
    assert not any(one.external_data for one in model.graph.initializer)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", to_onnx.OPSET)]
    engine = david.load(exported, device="cpu").engines[0]
    rows = engine(np.stack(check.generated(SIDE, 3)))
    for number, image in enumerate(check.generated(SIDE, 3)):
        for name, values in engine(image[None]).items():
            assert np.allclose(values[0], rows[name][number], atol=1e-5)
    about = david.load(exported, device="cpu").about
    assert about["recipe"]["name"] == "smoke" and about["model"]["heads"] == ["depth", "normals", "alpha"]
    assert about["weights_sha256"] == sha256(run / "weights.safetensors")
    assert about["data_fingerprint"] == json.loads((run / "recipe.json").read_text())["shards"]
    assert about["david"] == david.__version__ and about["conventions"] == contract.CONVENTIONS


def test_the_command_tells_differences_metrics_sizes_and_times(exported: Path) -> None:
    told = json.loads(exported.with_suffix(".json").read_text())
    assert {name: one["largest"] < 1e-4 for name, one in told["differences"].items()} == dict.fromkeys(
        ("relative_depth", "normals", "alpha"), True
    )
    assert told["sizes"]["onnx fp32"] == exported.stat().st_size and told["sha256"] == sha256(exported)
    assert told["sizes"]["torch"] > 0 and set(told["milliseconds"]) == {"torch", "onnx fp32"}
    assert {"depth_rmse_cm", "normals_mean_deg"} <= set(told["metrics"])
    for mine, its in told["metrics"].values():
        assert its == pytest.approx(mine, rel=1e-3, abs=1e-4)


def test_half_precision_is_inside_alone(run: Path, exported: Path, tmp_path: Path) -> None:
    model = david.model.weights.load(run / "weights.safetensors")
    half = export(model, tmp_path / "half.onnx", precision="fp16", size=SIDE, timed=False)
    graph = onnx.load(half.path).graph
    ends = [*graph.input, *graph.output]
    assert {one.type.tensor_type.elem_type for one in ends} == {onnx.TensorProto.FLOAT}
    kinds = [one.data_type for one in graph.initializer if len(one.dims) > 1]
    assert kinds.count(onnx.TensorProto.FLOAT16) > 0.8 * len(kinds)
    assert half.sizes["onnx fp16"] < 0.8 * half.sizes["onnx fp32"]
    assert all(0 < one.largest < 0.02 for one in half.differences.values())


def test_a_network_and_its_torch_program_say_the_same(tmp_path: Path) -> None:
    made = export(network(heads=("normals",)), tmp_path / "net.pt2", size=32, form="pt2", timed=False)
    assert made.task == "normals" and made.differences["normals"].largest < 1e-4
    program = torch.export.load(made.path).module()
    assert program(torch.zeros(3, 3, 32, 32))[0].shape == (3, 3, 32, 32)


class Mirrored(contract.Contract):
    """A broken one: colours in the other order."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return super().forward(image.flip(1))


class Nearness(contract.Contract):
    """A broken one: depth of the other sign."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        depth, *others = super().forward(image)
        return (-depth, *others)


@pytest.mark.parametrize("broken, wrong", [(Mirrored, "normals by"), (Nearness, "relative_depth by")])
def test_a_file_that_says_something_else_is_refused_and_nothing_is_left(
    broken: type[contract.Contract], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pt2").write_text("an older one")
    monkeypatch.setattr(contract, "Contract", broken)
    with pytest.raises(DavidError, match=rf"not written, since the file differs .*{wrong} .* \(limit 0\.001\)"):
        export(network(), tmp_path / "net.pt2", size=32, form="pt2")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("net.pt2", "an older one")]


def test_a_file_whose_metrics_moved_is_refused(figures: Path, tmp_path: Path) -> None:
    from david.model.predict.engine import TorchEngine
    from david.train.use import checks

    metrics = checks.Metrics(checks.samples([figures], "val", 32), "fp32", tmp_path / "net.onnx")
    one, other = TorchEngine(network()), TorchEngine(network(seed=1))
    metrics(one, one)
    assert all(mine == its for mine, its in metrics.values.values())
    with pytest.raises(DavidError, match="metrics moved by more than 0.1% on 3 samples: .*depth_rmse_cm"):
        metrics(one, other)


def test_a_network_exports_what_it_has_heads_for() -> None:
    assert chosen(None, ("alpha", "normals", "depth")) == "multi"
    assert chosen(None, ("alpha",)) == "alpha"
    assert chosen("normals", ("depth", "normals")) == "normals"
    with pytest.raises(DavidError, match="choose by --task depth or normals"):
        chosen(None, ("depth", "normals"))
    with pytest.raises(DavidError, match="--task multi: the network has no head normals, only depth, alpha"):
        chosen("multi", ("depth", "alpha"))


def test_pictures_of_a_folder_reach_the_check_as_the_demo_brings_them(tmp_path: Path) -> None:
    from david.train.use import checks

    rgb = picture(30, 20)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    (seen,) = checks.pictures([tmp_path / "a.png"], 30)
    assert np.array_equal(seen, np.pad(rgb, ((0, 0), (5, 5), (0, 0)), mode="edge"))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DavidError, match="b.png"):
        checks.pictures([tmp_path / "b.png"], 30)


def test_an_antialiased_shrink_in_an_export_is_the_one_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    from david.model.resize import antialiased

    for (height, width), size in {(51, 51): (38, 38), (30, 20): (32, 64), (97, 13): (13, 97)}.items():
        image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
        outside = antialiased(image, size)
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_exporting", lambda: True)
            assert torch.allclose(antialiased(image, size), outside, atol=1e-6)


def test_a_file_that_is_there_is_no_reason_to_refuse(run: Path, tmp_path: Path) -> None:
    """The call ends at its empty folder of pictures, past the look at --out, and the older file stays."""
    out, empty = tmp_path / "net.onnx", tmp_path / "empty"
    out.write_text("older")
    empty.mkdir()
    result = CliRunner().invoke(app, ["export", "--weights", str(run), "--out", str(out), "--check", str(empty)])
    assert isinstance(result.exception, DavidError) and f"--check {empty}: expected" in str(result.exception)
    assert out.read_text() == "older"
