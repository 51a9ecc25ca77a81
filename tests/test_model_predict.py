"""Predictors: pictures of any size in, fields of that size out, whatever computes them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from smallest import network

import david
from david.model import weights
from david.model.predict import fit as fits
from david.model.predict.engine import Engine, TorchEngine
from david.model.predict.predictor import Predictor
from david.pack.errors import DavidError


class Echo(Engine):
    """Says of each pixel what it sees: red as depth, the three colours as a direction, green as alpha."""

    fields = ("relative_depth", "normals", "alpha")

    def __init__(self, batch: int | None = None, side: int | None = None):
        self.batch, self.side, self.calls = batch, side, []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.calls.append(len(images))
        planes = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        return {"relative_depth": planes[:, :1], "normals": 2 * planes - 1, "alpha": planes[:, 1:2]}


def soft(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without sharp edges, that a resize there and back leaves much as it was."""
    small = np.random.default_rng(seed).uniform(60, 200, (3, 3, 3)).astype(np.float32)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).round().astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["square", "stretch", "own"]))
def test_each_field_lies_where_the_picture_is(height: int, width: int, fit: str) -> None:
    rgb = soft(height, width)
    out = Predictor((Echo(),), fit=fit, side=256).predict(rgb)
    assert out.relative_depth.shape == out.alpha.shape == (height, width)
    assert out.normals.shape == (height, width, 3)
    if min(height, width) > 32:  # smaller ones are bent or shrunk by what `own` rounds to
        assert np.abs(out.relative_depth - rgb[..., 0] / 255).max() < 0.03
        assert np.abs(out.alpha - rgb[..., 1] / 255).max() < 0.03
    assert np.allclose(np.linalg.norm(out.normals, axis=-1), 1, atol=1e-4)


def test_a_square_is_the_picture_with_its_border_an_odd_pixel_at_the_end() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    seen = fits.prepare(rgb, "square", 8).image
    assert np.array_equal(seen, np.concatenate([rgb[:1], rgb, rgb[-1:], rgb[-1:]]))


def test_large_pictures_are_halved_before_they_are_resized() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (3200, 1700, 3), np.uint8)
    square = np.pad(rgb, ((0, 0), (750, 750), (0, 0)), mode="edge")
    halved = cv2.pyrDown(cv2.pyrDown(square))
    assert halved.shape[0] == 800  # 3200 is over 1,536, and so is 1,600
    assert np.array_equal(fits.prepare(rgb, "square", 96).image, cv2.resize(halved, (96, 96)))


def test_a_batch_says_of_each_picture_what_it_says_of_it_alone() -> None:
    shapes = [(40, 30), (30, 40), (96, 96), (7, 200), (41, 30)]
    pictures = [np.random.default_rng(i).integers(0, 256, (*s, 3), np.uint8) for i, s in enumerate(shapes)]
    for fit in ("square", "own"):
        predictor = Predictor((TorchEngine(network()),), fit=fit, side=64)
        for rgb, out in zip(pictures, predictor.predict_all(pictures), strict=True):
            alone = predictor.predict(rgb)
            for name in ("relative_depth", "normals", "alpha"):
                assert np.allclose(out[name], alone[name], atol=1e-5), (fit, rgb.shape, name)


def test_a_file_that_takes_one_image_at_a_time_gets_one() -> None:
    engine = Echo(batch=1)
    Predictor((engine,), side=32).predict_all([soft(9, 9), soft(8, 7)])
    assert engine.calls == [1, 1]


def test_a_file_that_takes_so_many_images_at_a_time_gets_no_fewer() -> None:
    engine, pictures = Echo(batch=3), [soft(32, 32, seed) for seed in range(4)]
    said = Predictor((engine,), side=32).predict_all(pictures)
    assert engine.calls == [3, 3]
    for rgb, out in zip(pictures, said, strict=True):
        assert np.allclose(out.relative_depth, rgb[..., 0] / 255)


def test_a_predictor_says_what_the_network_says_at_its_own_size() -> None:
    model = network()
    rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    out = Predictor((TorchEngine(model),), side=64).predict(rgb)
    with torch.inference_mode():
        said = model.eval()(torch.from_numpy(rgb).permute(2, 0, 1)[None])
    assert np.allclose(out.relative_depth, said["relative_depth"][0, 0], atol=1e-5)
    assert np.allclose(out.normals, said["normals"][0].permute(1, 2, 0), atol=1e-4)
    assert np.allclose(out.alpha, said["alpha_logits"][0, 0].sigmoid(), atol=1e-5)


def test_a_network_without_a_head_says_none_of_it(tmp_path: Path) -> None:
    weights.save(network(heads=("normals",)), tmp_path / "one.safetensors")
    out = david.load(tmp_path / "one.safetensors", size=32).predict(soft(20, 30))
    assert list(out) == ["normals"]
    assert (out.relative_depth, out.alpha) == (None, None)
    assert out.normals.shape == (20, 30, 3)


def test_two_files_for_different_fields_are_one_predictor(tmp_path: Path) -> None:
    for heads in (("normals",), ("depth", "alpha")):
        weights.save(network(heads=heads), tmp_path / f"{heads[0]}.safetensors")
    both = david.load(tmp_path / "normals.safetensors", tmp_path / "depth.safetensors", size=32)
    assert set(both.predict(soft(20, 30))) == {"normals", "relative_depth", "alpha"}
    with pytest.raises(DavidError, match="normals would come from two files"):
        david.load(tmp_path / "normals.safetensors", tmp_path / "normals.safetensors")


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_rgb_picture_is_refused_with_what_was_found(picture: np.ndarray) -> None:
    with pytest.raises(DavidError, match=r"\(H, W, 3\) uint8 RGB, found"):
        Predictor((Echo(),)).predict(picture)


def test_a_path_is_no_picture() -> None:
    with pytest.raises(DavidError, match="a picture is an array, .* found str"):
        Predictor((Echo(),)).predict("photo.jpg")  # type: ignore[arg-type]


def test_a_picture_whose_square_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(DavidError, match="30000 x 10 pixels: the square around it would have 900 million"):
        Predictor((Echo(),)).predict(np.zeros((10, 30000, 3), np.uint8))


@pytest.mark.parametrize(
    "what, told",
    [
        ("nowhere", "no such file or folder; expected a run"),
        ("here/nowhere", "no such file or folder in here, which is here, so it is taken for no name"),
        ("nowhere.onnx", "no such file; expected an ONNX file"),
        ("text.txt", "expected a network's weights ending in .safetensors"),
        ("text.safetensors", "expected weights that david saved"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(
    what: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    for name in ("text.txt", "text.safetensors"):
        Path(name).write_text("no weights")
    with pytest.raises(DavidError, match=told):
        david.load(what)


def test_words_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    weights.save(network(), tmp_path / "w.safetensors")
    for told, how in {
        "fit is 'round'": {"fit": "round"},
        "size is 0": {"size": 0},
        "--device tpu": {"device": "tpu"},
    }.items():
        with pytest.raises(DavidError, match=told):
            david.load(tmp_path / "w.safetensors", **how)


def onnx_file(path: Path, *fields: str, side: int = 32, batch: int | str = "batch", channels: int = 3) -> Path:
    """A file of the official contract that says red as depth, the picture as normals, green as alpha."""
    onnx = pytest.importorskip("onnx")
    helper, numbers = onnx.helper, onnx.numpy_helper
    shapes = {"relative_depth": (side, side), "normals": (3, side, side), "alpha": (1, side, side)}
    nodes = {  # the input is BGR
        "relative_depth": helper.make_node("Gather", ["image", "red"], ["relative_depth"], axis=1),
        "normals": helper.make_node("Gather", ["image", "rgb"], ["normals"], axis=1),
        "alpha": helper.make_node("Gather", ["image", "green"], ["alpha"], axis=1),
    }

    def floats(name: str, shape: tuple[int, ...]):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, *shape])

    graph = helper.make_graph(
        [nodes[name] for name in fields],
        "echo",
        [floats("image", (channels, side, side))],
        [floats(name, shapes[name]) for name in fields],
        [
            numbers.from_array(np.array(2), "red"),
            numbers.from_array(np.array([2, 1, 0]), "rgb"),
            numbers.from_array(np.array([1]), "green"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_multi_task_onnx_file_says_distance_and_a_single_task_one_nearness(tmp_path: Path) -> None:
    rgb = soft(32, 32)
    red = rgb[..., 0] / 255
    all_fields = david.load(onnx_file(tmp_path / "all.onnx", "relative_depth", "normals", "alpha")).predict(rgb)
    assert np.allclose(all_fields.relative_depth, red, atol=1e-6)
    assert np.allclose(all_fields.alpha, rgb[..., 1] / 255, atol=1e-6)
    assert np.allclose(all_fields.normals, rgb / np.linalg.norm(rgb.astype(float), axis=-1, keepdims=True), atol=1e-5)
    single = david.load(onnx_file(tmp_path / "one.onnx", "relative_depth", batch=1))
    assert single.side == 32
    for out in single.predict_all([rgb, rgb]):
        assert list(out) == ["relative_depth"]
        assert np.allclose(out.relative_depth, -red, atol=1e-6)


def test_an_onnx_file_of_another_contract_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    for path, told in {
        onnx_file(
            tmp_path / "order.onnx", "normals", "alpha"
        ): r"found outputs of tensor\(float\) \['batch', 3, 32, 32\]",
        onnx_file(
            tmp_path / "wide.onnx", "alpha", channels=4
        ): r"found inputs of tensor\(float\) \['batch', 4, 32, 32\]",
        tmp_path / "text.onnx": "no ONNX file, or not a whole one",
    }.items():
        with pytest.raises(DavidError, match=told):
            david.load(path)
    with pytest.raises(DavidError, match="sees pictures of 32 x 32 pixels only, not of 64 x 64"):
        david.load(onnx_file(tmp_path / "one.onnx", "alpha"), size=64)
