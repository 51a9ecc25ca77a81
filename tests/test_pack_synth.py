"""The ray-traced figures: exact, the same bytes every time, and laid out as SynthHuman is."""

import io
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from people import cm

from david.pack import synth
from david.pack.errors import DavidError
from david.pack.shards.sample import Sample
from david.pack.shards.schema import SCENARIOS
from david.pack.synth import layout
from david.pack.synth.figure import Figure, Material
from david.pack.synth.framing import pose_before_camera
from david.pack.synth.quadrics import Quadrics, View
from david.pack.synth.scene import RAYS

HEIGHT, WIDTH = 160, 120
keys = st.tuples(st.integers(0, 2**63), st.integers(0, 9_999_999), st.sampled_from(SCENARIOS))
no_shrinking = [Phase.explicit, Phase.reuse, Phase.generate]  # a key has no simpler neighbours
few = settings(max_examples=10, deadline=None, phases=no_shrinking)


def small(key: tuple[int, int, str], height: int = HEIGHT, width: int = WIDTH) -> Sample:
    return synth.render(*key, height=height, width=width)


def view_of(key: tuple[int, int, str]) -> View:
    rng = np.random.Generator(np.random.Philox(key=np.array(key[:2], dtype=np.uint64)))
    return View(*pose_before_camera(rng, key[2], HEIGHT, WIDTH), HEIGHT, WIDTH)


def back_projected(sample: Sample) -> np.ndarray:
    """(H, W, 3) float64: X right, Y up, Z towards the camera, cm; through the centres of the pixels."""
    height, width = sample.depth_valid.shape
    y, x = np.mgrid[:height, :width] + 0.5
    inverse = np.linalg.inv(sample.intrinsics)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ inverse.T
    return rays * cm(sample)[..., None].astype(np.float64) * [1, -1, -1]


@few
@given(keys)
def test_a_sample_depends_on_its_key_alone(key):
    first, second = small(key), small(key)
    for name in ("rgb", "alpha", "depth_m", "normals", "depth_valid", "intrinsics"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()
    other = small((key[0], key[1] + 1, key[2]))
    assert (other.rgb != first.rgb).any() and (other.depth_valid != first.depth_valid).any()


def first_crossing_twin(quadrics: Quadrics, direction: np.ndarray) -> float:
    """The depth at which one ray first enters a surface, from the definition, in float64; inf where it never does."""
    nearest = np.inf
    for form, planes in zip(quadrics.form, quadrics.planes, strict=True):
        a = direction @ form[:3, :3] @ direction
        b = 2 * direction @ form[:3, 3]
        roots = np.roots([a, b, form[3, 3]])
        for t in roots[np.isreal(roots)].real:
            enters = 2 * a * t + b < 0
            if 0 < t < nearest and enters and (planes @ np.append(t * direction, 1) >= 0).all():
                nearest = t
    return nearest


@settings(few, max_examples=6)
@given(keys)
def test_traced_depth_equals_the_slow_twin(key):
    view = view_of(key)
    depth, _ = view.trace()
    points = np.random.default_rng(key[1]).integers([0, 0], [HEIGHT, WIDTH], (40, 2))
    twin = [first_crossing_twin(view.quadrics, view.rays @ [x + 0.5, y + 0.5, 1]) for y, x in points]
    np.testing.assert_allclose(depth[points[:, 0], points[:, 1]], twin, rtol=1e-5)


@pytest.mark.parametrize(("r_near", "r_far"), [(2.0, 4.0), (4.0, 2.0), (3.0, 3.0)])
def test_a_limb_seen_end_on_is_whole(r_near, r_far):
    figure = Figure(place=np.eye(4))
    figure.limb(Material("plain", np.zeros(3), np.zeros(3)), (0.3, 0, -100), (0, 0.4, -130), r_near, r_far)
    intrinsics = np.array([[200.0, 0, 8], [0, 200, 8], [0, 0, 1]])
    view = View(figure.quadrics(), intrinsics, 16, 16)
    twin = [first_crossing_twin(view.quadrics, view.rays @ [x + 0.5, y + 0.5, 1]) for y in range(16) for x in range(16)]
    np.testing.assert_allclose(view.trace()[0].ravel(), twin, rtol=1e-5)


@few
@given(st.integers(0, 2**32), st.integers(0, 1000), st.sampled_from(SCENARIOS))
def test_normals_are_the_slope_of_the_depth(seed, index, scenario):
    sample = small((seed, index, scenario), 384, 288)
    points = back_projected(sample)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    upwards = points[:-2, 1:-1] - points[2:, 1:-1]
    slope = np.cross(across, upwards)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
    depth = cm(sample).astype(np.float64)
    bend = np.maximum(
        abs(depth[1:-1, 2:] + depth[1:-1, :-2] - 2 * depth[1:-1, 1:-1]),
        abs(depth[2:, 1:-1] + depth[:-2, 1:-1] - 2 * depth[1:-1, 1:-1]),
    )
    smooth = bend < 0.1 * depth[1:-1, 1:-1] / sample.intrinsics[0, 0]  # no crease or edge; NaN compares false
    assert smooth.sum() > 0.1 * sample.depth_valid.sum()
    cosine = (slope * sample.normals[1:-1, 1:-1]).sum(axis=-1)[smooth]
    angles = np.rad2deg(np.arccos(cosine.clip(-1, 1)))
    assert np.median(angles) < 0.1 and np.quantile(angles, 0.95) < 1.0


@few
@given(keys)
def test_what_is_valid_is_whole(key):
    sample = small(key)
    lengths = np.linalg.norm(sample.normals, axis=-1)
    soft = ~sample.depth_valid & (sample.alpha > 0)
    assert 0.02 < sample.depth_valid.mean() < 0.95
    assert (sample.alpha[sample.depth_valid] > 0).all()
    np.testing.assert_allclose(lengths[sample.depth_valid | soft], 1, atol=1e-6)
    assert not lengths[~sample.depth_valid & ~soft].any()
    assert np.isfinite(cm(sample)).tolist() == sample.depth_valid.tolist()
    facing = (sample.normals * back_projected(sample)).sum(axis=-1)[sample.depth_valid]
    assert (facing < 1e-3 * cm(sample)[sample.depth_valid]).all()  # seen from outside, to rounding


@settings(few, max_examples=5)
@given(keys)
def test_alpha_is_the_share_of_a_pixel_that_is_covered(key):
    view, alpha = view_of(key), small(key).alpha / 255
    grid = (np.arange(12, dtype=np.float32) + 0.5) / 12
    within = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    row, column = np.divmod(np.arange(HEIGHT * WIDTH), WIDTH)
    _, label = view.trace_pixels(row, column, within)
    covered = (label != len(view.quadrics.form)).mean(axis=1).reshape(HEIGHT, WIDTH)
    partial = (covered > 0) & (covered < 1)
    error = abs(alpha - covered)
    assert error[~partial].max() < 1.1 / len(RAYS)  # a sliver between the rays of either
    assert error[partial].mean() < 0.08 and np.quantile(error[partial], 0.98) < 0.25  # .049 and .15 in the mean


def test_zips_hold_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    synth.write(tmp_path / "one", samples=5, zips=2, seed=3, workers=1)
    synth.write(tmp_path / "two", samples=5, zips=2, seed=3, workers=2)
    written = [[path.read_bytes() for path in sorted((tmp_path / name).iterdir())] for name in ("one", "two")]
    assert len(written[0]) == 2 and written[0] == written[1]


def test_a_zip_is_laid_out_as_published(raw: Path):
    with zipfile.ZipFile(raw / "SynthHuman_0000.zip") as archive:
        data = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name in data if "0000000" in name] == [
        "rgb_0000000.png", "alpha_0000000.png", "depth_0000000.exr", "normal_0000000.exr", "cam_0000000.txt",
    ]  # fmt: skip
    sample = synth.render(0, 0, "face")

    rgb = cv2.imdecode(np.frombuffer(data["rgb_0000000.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    alpha = cv2.imdecode(np.frombuffer(data["alpha_0000000.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(rgb[..., ::-1], sample.rgb)
    np.testing.assert_array_equal(alpha, sample.alpha)
    assert rgb.shape == (512, 384, 3) and rgb.dtype == alpha.dtype == np.uint8

    depth = OpenEXR.File(io.BytesIO(data["depth_0000000.exr"]), separate_channels=True)
    normal = OpenEXR.File(io.BytesIO(data["normal_0000000.exr"]), separate_channels=True)
    for file, channels in ((depth, "Y"), (normal, "BGR")):
        assert file.header()["compression"] == OpenEXR.ZIP_COMPRESSION
        assert {name: channel.pixels.dtype for name, channel in file.channels().items()} == dict.fromkeys(
            channels, "f4"
        )
    z = depth.channels()["Y"].pixels
    assert (z[~sample.depth_valid] == 65504).all()
    np.testing.assert_array_equal(z[sample.depth_valid], cm(sample)[sample.depth_valid])
    x, y, towards = (normal.channels()[name].pixels for name in "BGR")
    row, column = np.nonzero(sample.depth_valid)
    assert np.corrcoef(x[sample.depth_valid], column)[0, 1] > 0.3  # a head's right side looks right,
    assert y[sample.depth_valid][row < row.min() + 60].mean() > 0.3  # its top looks up,
    assert (towards[sample.depth_valid] > 0).mean() > 0.95  # and all that is seen looks at the camera
    np.testing.assert_allclose(np.loadtxt(io.BytesIO(data["cam_0000000.txt"])), sample.intrinsics, rtol=1e-8)


def test_ids_run_through_the_zips_in_the_stored_order_of_scenarios(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "encode", lambda sample: {f"{sample.meta['scenario']}_{sample.key}": b""})
    monkeypatch.setattr(layout, "render", lambda seed, index, scenario: synth.render(seed, index, scenario, 32, 24))
    synth.write(tmp_path, samples=31, zips=4, workers=1)
    names, ends = [], set()
    for path in sorted(tmp_path.iterdir()):
        with zipfile.ZipFile(path) as archive:
            names += archive.namelist()
            ends.add(tuple(json.loads(archive.comment)["scenario_ends"]))
    scenarios = ["face"] * 10 + ["full_body"] * 11 + ["upper_body"] * 10
    assert names == [f"{scenario}_{index:07d}" for index, scenario in enumerate(scenarios)]
    assert ends == {(10, 21, 31)}


def test_a_stopped_write_leaves_no_half_zip(tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth.write(tmp_path, samples=4, zips=2, progress=stop, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["SynthHuman_0000.zip"]


def test_zips_of_another_set_are_not_mixed_in(tmp_path):
    (tmp_path / "SynthHuman_0007.zip").touch()
    with pytest.raises(DavidError, match=r"SynthHuman_0007\.zip of another set"):
        synth.write(tmp_path, samples=2, zips=1)
    with pytest.raises(DavidError, match="2 samples can't fill 3 zips"):
        synth.write(tmp_path / "new", samples=2, zips=3)
    (tmp_path / "SynthHuman_0007.zip").unlink()
    with zipfile.ZipFile(tmp_path / "SynthHuman_0000.zip", "w") as published:
        published.writestr("rgb_0000000.png", b"real")
    before = (tmp_path / "SynthHuman_0000.zip").read_bytes()
    with pytest.raises(DavidError, match=r"SynthHuman_0000\.zip of another set"):
        synth.write(tmp_path, samples=2, zips=1)
    assert (tmp_path / "SynthHuman_0000.zip").read_bytes() == before
