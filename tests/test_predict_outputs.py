"""Whatever is saved comes back as it was said, within the precision that the format states."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile_pictures import scene
from test_model_predict import Echo
from typer.testing import CliRunner

from david.cli import app
from david.model.predict import drawing, inputs, outputs, points, runner
from david.model.predict.fields import Fields
from david.model.predict.predictor import Predictor
from david.pack.errors import DavidError
from david.pack.look import preview
from david.pack.raw import exr
from david.pack.raw.archive import Member
from david.pack.raw.zip_faults import STORED

HEIGHT, WIDTH = 90, 70


def shot(**look: object) -> outputs.Shot:
    rng = np.random.default_rng(0)
    planes = [
        cv2.resize(rng.random((4, 5), np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for _ in range(5)
    ]
    normals = cv2.merge(planes[:3]) * 2 - 1
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    fields = Fields({"relative_depth": 7 * planes[3] - 2, "normals": normals, "alpha": planes[4]})
    return outputs.Shot(scene(HEIGHT, WIDTH), fields, outputs.Look(**look))


def pixels(data: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    return found if found.ndim == 2 else cv2.cvtColor(found, cv2.COLOR_BGRA2RGBA if found.shape[2] == 4 else 4)


def saved(name: str, one: outputs.Shot) -> bytes:
    return outputs.KINDS[name].write(one)


def channels(data: bytes, *names: str) -> list[np.ndarray]:
    member = Member(Path("x.exr"), "", len(data), None, None, len(data), STORED)
    return exr.decode(member, data, names, 1 << 20)


def test_depth_comes_back_within_a_step_of_its_range() -> None:
    one = shot()
    least, most = outputs.facts(one)["depth_range"]
    steps = pixels(saved("depth", one))
    assert steps.dtype == np.uint16 and (steps.min(), steps.max()) == (0, 65535)
    depth = least + steps / 65535 * (most - least)
    assert np.abs(depth - one.fields["relative_depth"]).max() <= (most - least) / 65535 / 2 + 1e-6


def test_flat_depth_is_saved_too() -> None:
    one = outputs.Shot(scene(), Fields({"relative_depth": np.full((48, 64), 3.5, np.float32)}))
    assert outputs.facts(one)["depth_range"] == [3.5, 3.5] and not pixels(saved("depth", one)).any()
    assert drawing.draw(one.fields, "relative_depth").shape == (48, 64, 3)
    assert np.isfinite(points.points(one.rgb, one.fields, points.Camera()).xyz).all()


def test_arrays_come_back_as_they_are() -> None:
    one = shot()
    with np.load(io.BytesIO(saved("npz", one)), allow_pickle=False) as arrays:
        assert set(arrays) == {"relative_depth", "normals", "alpha"}
        assert all(np.array_equal(arrays[name], one.fields[name]) for name in arrays)
    assert np.array_equal(np.load(io.BytesIO(saved("depth-npy", one))), one.fields["relative_depth"])
    (depth,) = channels(saved("depth-exr", one), "Y")
    assert np.array_equal(depth, one.fields["relative_depth"])
    x, y, z = channels(saved("normals-exr", one), "R", "G", "B")
    assert np.array_equal(np.dstack([x, y, z]), one.fields["normals"])


def test_normals_and_alpha_come_back_within_half_a_step() -> None:
    one = shot()
    normals = pixels(saved("normals", one)) / 127.5 - 1
    assert np.abs(normals - one.fields["normals"]).max() <= 0.5 / 127.5 + 1e-6
    assert np.abs(pixels(saved("alpha", one)) / 255 - one.fields["alpha"]).max() <= 0.5 / 255 + 1e-6


def test_a_cutout_has_the_colours_and_the_alpha_and_a_composite_lies_on_its_colour() -> None:
    one = shot(background=(10, 200, 30))
    cutout = pixels(saved("cutout", one))
    assert np.array_equal(cutout[..., :3], one.rgb)
    assert np.abs(cutout[..., 3] / 255 - one.fields["alpha"]).max() <= 0.5 / 255 + 1e-6
    alpha = one.fields["alpha"][..., None].astype(float)
    expected = one.rgb * alpha + np.array([10, 200, 30]) * (1 - alpha)
    assert np.abs(pixels(saved("composite", one)) - expected).max() <= 0.51


@pytest.mark.parametrize("text, colour", [("white", (255, 255, 255)), ("#0a141e", (10, 20, 30)), ("1,2,3", (1, 2, 3))])
def test_a_background_is_said_in_three_ways(text: str, colour: tuple[int, int, int]) -> None:
    assert outputs.background(text) == colour
    with pytest.raises(DavidError, match="--background `blau`: expected a name such as white"):
        outputs.background("blau")


def test_drawings_are_those_of_previews() -> None:
    fields = shot().fields
    inside, reach = fields["alpha"] > 0.5, (0.0, 3.0)
    slow = {
        "relative_depth": preview.colour_depth(fields["relative_depth"], inside, reach),
        "normals": preview.colour_normals(fields["normals"], inside),
        "alpha": preview.colour_alpha(fields["alpha"]),
    }
    fast = drawing.pictures(fields, reach)
    assert list(fast) == list(slow)
    for name in slow:
        apart = np.abs(fast[name].astype(int) - slow[name])
        assert apart.max() <= 8, name  # between the two farthest colours, of which the drawing has one
        assert (apart[fields["relative_depth"] < 2.9] <= 1).mean() > 0.98, name
        if name != "alpha":
            assert (fast[name][~inside] == preview.INVALID).all()
    assert np.allclose(drawing.span(fields), preview.depth_span(fields["relative_depth"], inside))


def test_side_by_side_is_a_row_or_a_column_and_no_longer_than_a_jpeg_can_be() -> None:
    one = shot()
    assert drawing.side_by_side(one.rgb, one.fields).shape == (HEIGHT, 4 * WIDTH, 3)
    wide = Fields({"alpha": np.ones((10, 40), np.float32)})
    assert drawing.side_by_side(scene(10, 40), wide).shape == (20, 40, 3)
    long = Fields({"alpha": np.ones((40_000, 3), np.float32)})
    assert drawing.side_by_side(np.zeros((40_000, 3, 3), np.uint8), long).shape == (40_000, 6, 3)
    longer = np.zeros((80_000, 3, 3), np.uint8)
    assert drawing.side_by_side(longer, Fields({"alpha": np.ones((80_000, 3), np.float32)})).shape[0] == 65_500


def read_ply(data: bytes) -> np.ndarray:
    head, _, body = data.partition(b"end_header\n")
    kinds = {"float": "<f4", "uchar": "u1"}
    lines = [line.split() for line in head.decode().splitlines()]
    assert lines[1] == ["format", "binary_little_endian", "1.0"]
    vertices = np.frombuffer(body, [(line[2], kinds[line[1]]) for line in lines if line[0] == "property"])
    assert ["element", "vertex", str(len(vertices))] in lines
    return vertices


@pytest.mark.parametrize("camera", [points.Camera(), points.Camera(90), points.Camera(intrinsics=(80, 90, 30, 50))])
def test_points_lie_on_the_rays_of_their_pixels(camera: points.Camera) -> None:
    one = shot(camera=camera)
    cloud = read_ply(saved("points", one))
    rows, columns = np.nonzero(one.fields["alpha"] > 0.5)
    assert len(cloud) == len(rows)
    fx, fy, cx, cy = camera.pixels(HEIGHT, WIDTH)
    assert np.allclose(cloud["x"] / cloud["z"], (columns + 0.5 - cx) / fx, atol=1e-5)
    assert np.allclose(cloud["y"] / cloud["z"], (rows + 0.5 - cy) / fy, atol=1e-5)
    assert np.array_equal(np.stack([cloud[c] for c in ("red", "green", "blue")], 1), one.rgb[rows, columns])
    normals = np.stack([cloud["nx"], -cloud["ny"], -cloud["nz"]], 1)
    assert np.array_equal(normals, one.fields["normals"][rows, columns])
    depth = one.fields["relative_depth"][rows, columns]
    assert np.array_equal(np.argsort(depth, kind="stable"), np.argsort(cloud["z"], kind="stable")) or (
        np.corrcoef(depth, cloud["z"])[0, 1] > 0.999
    )
    assert np.quantile(cloud["z"], 0.005) == pytest.approx(1, abs=0.01)
    relief = points.RELIEF * (columns.max() - columns.min() + 1) / fx
    assert np.quantile(cloud["z"], 0.995) == pytest.approx(1 + relief, rel=0.02)


def test_a_field_of_view_is_that_of_the_longer_side() -> None:
    fx, fy, cx, cy = points.Camera(90).pixels(300, 400)
    assert (fx, fy, cx, cy) == pytest.approx((200, 200, 200, 150))


def test_every_kind_is_written_under_its_own_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "a.jpg", "a_depth.png"):
        cv2.imwrite(str(folder / name), scene()[..., ::-1])
    job = runner.Job(Predictor((Echo(),), side=32), tmp_path / "out", tuple(outputs.KINDS))
    outcomes = list(runner.run(job, inputs.listed([str(folder)]).inputs))
    names = [name for outcome in outcomes for name in outcome.files]
    assert len(set(names)) == 3 * len(outputs.KINDS) == len(list((tmp_path / "out").iterdir()))
    assert {"a.jpg_depth.png", "a.png_depth.png", "a_depth_depth.png"} <= set(names)


def test_only_what_is_saved_is_brought_to_the_pictures_size() -> None:
    every = ("relative_depth", "normals", "alpha")
    assert outputs.needed(["depth"], every) == ("relative_depth",)
    assert outputs.needed(["cutout", "normals"], every) == ("normals", "alpha")
    assert outputs.needed(["points"], every[:2]) == every[:2]
    assert outputs.needed(["picture"], every) == outputs.needed(["npz", "depth"], every) == every


def test_what_a_network_does_not_say_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(DavidError, match="--save cutout needs alpha, but w says normals alone"):
        outputs.require(["normals", "cutout"], ["normals"], "w")
    outputs.require(["picture", "normals"], ["normals"], "w")


def test_stems_keep_folders_and_differ(tmp_path: Path) -> None:
    for name in ("one/x.png", "one/sub/x.jpg", "one/y.png", "one/y.jpg", "two/x.png", "one/.hidden.png", "one/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    listing = inputs.listed([one])
    assert [found.stem for found in listing.inputs] == ["x", "y.jpg", "y.png", "sub/x"] and listing.passed_over == 1
    both = inputs.listed([one, two, f"{one}/x.png"])
    assert [found.stem for found in both.inputs] == ["1/x.png", "y.jpg", "y.png", "sub/x", "2/x.png"]
    assert [found.stem for found in inputs.listed([f"{one}/*.png"]).inputs] == ["x", "y"]
    assert [found.stem for found in inputs.listed([f"{tmp_path}/**/x.*"]).inputs] == ["one/sub/x", "one/x", "two/x"]


@pytest.mark.parametrize(
    "words, told",
    [
        (["nowhere.jpg", "--onnx", "w.onnx"], "nowhere.jpg: no such file or folder; expected a picture"),
        (["empty", "--onnx", "w.onnx"], "empty: a folder without inputs; files in it and below are taken where"),
        (["*.jpg", "--onnx", "w.onnx"], "no input matches this pattern"),
        (["", "--onnx", "w.onnx"], "an empty INPUT"),
        (["a.png", "--onnx", "gone.onnx"], "gone.onnx: no such file; expected an ONNX file"),
        (["a.png", "--weights", "gone"], "gone: no such file or folder; expected a run"),
        (["a.png", "--weights", "a.png"], "expected a network's weights ending in"),
        (["a.png", "--onnx", "w.onnx", "--save", "depths"], "--save depths: there are picture, depth"),
        (["a.png", "--onnx", "w.onnx", "--fit", "round"], "fit is 'round'"),
        (["a.png", "--onnx", "w.onnx", "--precision", "fp8"], "--precision fp8: there are auto"),
        (["a.png", "--onnx", "w.onnx", "--part", "3"], "a part is i/n"),
        (["a.png", "--onnx", "w.onnx", "--part", "1/2", "--restart"], "begin anew without --part"),
        (["a.png", "--onnx", "w.onnx", "--background", "blau"], "--background `blau`"),
        (["a.png", "--onnx", "w.onnx", "--fov", "180"], "--fov 180: expected degrees from 1 to 170"),
        (["a.png", "--onnx", "w.onnx", "--fov", "60", "--intrinsics", "1,2,3,4"], "give one of them"),
        (["a.png", "--onnx", "w.onnx", "--intrinsics", "1,2"], "expected four numbers of pixels, fx,fy,cx,cy"),
        (["a.png", "--onnx", "w.onnx", "--intrinsics", "0,2,3,4"], "focal lengths must be above 0"),
    ],
)
def test_wrong_calls_are_one_sentence_and_write_nothing(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "w.onnx").write_bytes(bytes.fromhex("0808 3a04 0a00 6200"))  # whole, with an empty node and output
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(app, ["predict", *words, "--out", "out"])
    assert isinstance(done.exception, DavidError) and done.exception.exit_code == 2
    assert told in str(done.exception) and "\n" not in str(done.exception)
    assert not (tmp_path / "out").exists()
