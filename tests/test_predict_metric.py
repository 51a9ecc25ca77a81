"""Networks of metric depth and of disparity in use: metres in files, points, pictures and exports."""

import io
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
import torch
from predicting import ask, lines

import david
from david.model import build, weights
from david.model.export import export
from david.model.predict import drawing, fit, outputs, points
from david.model.predict.fields import Fields
from david.model.predict.onnx_file import OnnxEngine
from david.model.predict.outputs import Look, Shot
from david.model.predict.points import Camera
from david.model.predict.steady import Steady, reference
from david.pack.errors import DavidError

METRES = 0.6 + 6 * np.linspace(0, 1, 96 * 128, dtype=np.float32).reshape(96, 128) ** 2


def shot(name: str, values: np.ndarray, camera: Camera | None = None) -> Shot:
    rgb = np.random.default_rng(0).integers(0, 256, (*values.shape, 3), np.uint8)
    return Shot(rgb, Fields({name: values}), Look(camera=camera or Camera()))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, made = tmp_path_factory.mktemp("networks"), {}
    for kind in ("da2-smoke", "da2-smoke-metric", "da2-zoe-smoke"):
        torch.manual_seed(0)
        made[kind] = folder / f"{kind}.safetensors"
        weights.save(build(kind), made[kind])
    return made


def test_metres_leave_as_millimetres_and_as_metres() -> None:
    far = METRES.copy()
    far[0, :3] = 65.5, 70.0, 1e-3
    one = shot("metric_depth_m", far)
    steps = cv2.imdecode(np.frombuffer(outputs.KINDS["depth"].write(one), np.uint8), cv2.IMREAD_UNCHANGED)
    assert steps is not None and steps.dtype == np.uint16 and steps[0, :3].tolist() == [65500, 65535, 1]
    assert np.abs(steps[1:] / 1000 - far[1:]).max() < 0.000501
    data = outputs.KINDS["depth-exr"].write(one)
    channel = OpenEXR.File(io.BytesIO(data)).channels()["Y"].pixels
    assert channel is not None and channel.dtype == np.float32 and np.array_equal(channel, far)
    assert outputs.facts(one)["depth_range_m"] == [float(far.min()), 70.0] and "depth_range" not in outputs.facts(one)


def test_points_of_metric_depth_are_where_they_are() -> None:
    camera = Camera(intrinsics=(100.0, 110.0, 60.0, 50.0))
    one = shot("metric_depth_m", METRES, camera)
    cloud = points.points(one.rgb, one.fields, camera)
    assert cloud.metric and b"comment metric depth: metres\n" in points.ply(cloud)
    row, column = 40, 17
    x, y, z = cloud.xyz[row * 128 + column]
    assert z == METRES[row, column]
    assert (x, y) == pytest.approx(((column + 0.5 - 60) / 100 * z, (row + 0.5 - 50) / 110 * z), rel=1e-6)


def test_points_of_disparity_are_near_where_it_is_large_and_lie_by_its_inverse() -> None:
    disparity = np.linspace(1, 3, 64 * 64, dtype=np.float32).reshape(64, 64)
    one = shot("relative_disparity", disparity)
    cloud = points.points(one.rgb, one.fields, Camera())
    z = cloud.xyz[:, 2]
    assert not cloud.metric and b"scale and shift are chosen" in points.ply(cloud)
    assert (np.diff(z) < 0).all() and 1 / (1 / z).max() == pytest.approx(1, abs=0.02)
    line = np.polyfit(disparity.ravel(), 1 / z, 1)
    assert np.abs(np.polyval(line, disparity.ravel()) - 1 / z).max() < 1e-4


def test_a_picture_of_metres_has_a_bar_and_one_of_disparity_none() -> None:
    drawn = drawing.draw(Fields({"metric_depth_m": METRES}), "metric_depth_m")
    plain = drawing.draw(Fields({"relative_depth": METRES}), "relative_depth")
    changed = (drawn != plain).any(-1)
    rows, columns = np.nonzero(changed)
    assert 0.02 < changed.mean() < 0.5 and rows.min() > 48 and columns.max() == 127
    other = drawing.draw(Fields({"metric_depth_m": 2 * METRES}), "metric_depth_m")
    assert (other != drawn).any()  # the same colours, other metres
    assert np.array_equal(other[: rows.min()], drawn[: rows.min()])
    small = METRES[:40, :40]
    same = [drawing.draw(Fields({name: small}), name) for name in ("metric_depth_m", "relative_depth")]
    assert np.array_equal(same[0], same[1])  # too small for a bar
    near = drawing.draw(Fields({"relative_disparity": METRES.max() - METRES}), "relative_disparity")
    assert np.abs(near.astype(int) - plain).max() <= 2  # warm is near in both
    assert [drawing.metres(value) for value in (0.5, 3.14159, 12.34, 250.0)] == ["0.50 m", "3.14 m", "12.3 m", "250 m"]


@pytest.mark.parametrize(
    ("shape", "side", "seen"),
    [((480, 640), 518, (518, 686)), ((480, 640), 392, (392, 518)), ((640, 480), 392, (518, 392)),
     ((300, 300), 518, (518, 518)), ((375, 1242), 518, (518, 1722)), ((518, 518), 518, (518, 518)),
     ((100, 101), 40, (42, 42)), ((1, 1), 14, (14, 14))],
)  # fmt: skip
def test_pictures_reach_the_network_as_the_official_code_resizes_them(
    shape: tuple[int, int], side: int, seen: tuple[int, int]
) -> None:
    """Shorter side to `side` at least, both to the nearest multiple of 14."""
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    prepared = fit.prepare(rgb, "shorter", side)
    assert prepared.image.shape == (*seen, 3) and prepared.image.dtype == np.float32
    expected = rgb / np.float32(255)
    if shape != seen:
        expected = cv2.resize(expected, seen[::-1], interpolation=cv2.INTER_CUBIC)
    assert np.abs(prepared.image - expected).max() < 1e-6
    assert prepared.seen.dtype == np.uint8
    ramp = np.add.outer(np.linspace(0, 1, seen[0]), np.linspace(0, 2, seen[1])).astype(np.float32)
    back = prepared.restored({"metric_depth_m": ramp[None]})["metric_depth_m"]
    exact = np.add.outer(np.linspace(0, 1, shape[0]), np.linspace(0, 2, shape[1]))
    assert back.shape == shape and np.abs(back - exact).max() < 1e-5  # corners lie on corners


def test_a_picture_that_is_all_length_is_refused() -> None:
    with pytest.raises(DavidError, match="more than 8 times as long as it is wide"):
        fit.prepare(np.zeros((10, 81, 3), np.uint8), "shorter", 56)


def test_predict_writes_metres_as_the_network_says_them(networks: dict[str, Path], tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (60, 80, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    words = (tmp_path / "a.png", "--weights", networks["da2-zoe-smoke"], "--size", 56, "--device", "cpu")
    saves = "picture,depth,depth-exr,points,npz"
    code, told = ask(*words, "--out", tmp_path / "out", "--save", saves, "--no-progress")
    assert code == 0, told
    said = np.load(tmp_path / "out/a_fields.npz")["metric_depth_m"]
    assert said.shape == (60, 80) and said.dtype == np.float32
    with torch.inference_mode():
        seen = fit.prepare(rgb, "shorter", 56).image.transpose(2, 0, 1)
        direct = weights.load(networks["da2-zoe-smoke"])(torch.from_numpy(seen.copy())[None])["metric_depth_m"]
        direct = torch.nn.functional.interpolate(direct, (60, 80), mode="bilinear", align_corners=True)[0, 0]
    assert np.abs(said - direct.numpy()).max() < 1e-5
    steps = cv2.imread(str(tmp_path / "out/a_depth.png"), cv2.IMREAD_UNCHANGED)
    assert steps is not None and np.abs(steps / 1000 - said).max() < 0.000501
    (line,) = lines(tmp_path / "out/predictions.jsonl")
    assert line["depth_range_m"] == [float(said.min()), float(said.max())]
    with pytest.raises(DavidError, match='fit is "shorter" there and "stretch" now'):
        ask(*words, "--out", tmp_path / "out", "--save", saves, "--no-progress", "--fit", "stretch")
    with pytest.raises(DavidError, match="--save alpha needs alpha, but"):
        ask(*words, "--out", tmp_path / "new", "--save", "alpha", "--no-progress")


def test_steadied_metres_are_smoothed_and_never_brought_to_another_scale() -> None:
    """A frame's metres are its own: no line is fitted, after a cut they are as they are said, and nothing drifts."""
    rng = np.random.default_rng(0)
    rgb, other = (cv2.resize(rng.integers(0, 256, (n, n, 3), np.uint8), (96, 96)) for n in (16, 96))
    true = np.linspace(1, 4, 96 * 96, dtype=np.float32).reshape(96, 96)
    said = [true * (1 + 0.05 * rng.standard_normal(true.shape).astype(np.float32)) for _ in range(40)]
    keeps = Steady(reference([{"metric_depth_m": one[None]} for one in said[::8]]))
    assert keeps.reference is not None and 0.8 < keeps.reference.low < 1.1 and 3.9 < keeps.reference.high < 4.6
    out = [keeps(rgb, {"metric_depth_m": one[None]}, index / 24)["metric_depth_m"][0] for index, one in enumerate(said)]
    assert np.array_equal(out[0], said[0])
    assert all(abs(np.mean(one / true) - 1) < 0.003 for one in out)
    assert 3 * np.abs(out[-1] - out[-2]).mean() < np.abs(said[-1] - said[-2]).mean()
    far = 2 * true
    cut = keeps(other, {"metric_depth_m": far[None]}, 2.0)["metric_depth_m"][0]
    assert np.array_equal(cut, far)
    for index in range(60):  # what lasts comes from the network: another scale without any motion
        last = keeps(other, {"metric_depth_m": 1.2 * far[None]}, 2.0 + (index + 1) / 24)["metric_depth_m"][0]
    assert np.median(last / far) == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize(
    ("kind", "task", "field"),
    [("da2-smoke", "disparity", "relative_disparity"), ("da2-zoe-smoke", "metric_depth", "metric_depth_m")],
)
def test_an_export_says_what_the_network_says_and_in_which_unit(
    kind: str, task: str, field: str, networks: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    network = weights.load(networks[kind])
    done = export(network, tmp_path / "net.onnx", size=70, timed=False)
    assert done.task == task and done.differences[field].within
    engine = OnnxEngine(tmp_path / "net.onnx")
    assert engine.fields == (field,) and engine.about["task"] == task
    assert engine.about["unit"].startswith("metres" if task == "metric_depth" else "disparity")
    shape = engine.session.get_outputs()[0].shape
    assert engine.session.get_outputs()[0].name == task and shape[1:] == [70, 70]
    rgb = np.random.default_rng(0).integers(0, 256, (70, 70, 3), np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None])[field][0, 0].numpy()
    found = david.load(tmp_path / "net.onnx").predict(rgb)[field]
    assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected)
    with pytest.raises(DavidError, match="--size 64: expected a multiple of 14"):
        export(network, tmp_path / "other.onnx", size=64)
    assert not (tmp_path / "other.onnx").exists()
