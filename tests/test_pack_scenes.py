"""More sets of metric depth, each in its exact layout: iBims-1 with edges and planes, DA-2K's pairs, Hypersim's rays,
Virtual KITTI 2's sky, KITTI's sparse truth. Metres come back as they were drawn, or are refused with what was seen."""

import json
import re
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import cv2
import layouts
import numpy as np
import pytest
import rooms
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from layouts import IBIMS_STEP_M, STREET, WIDE, holes, views
from test_pack_metres import faults, packed, require

from david.pack import BadSample, DavidError
from david.pack.look import preview
from david.pack.raw import matlab
from david.pack.raw.archive import Entry
from david.pack.sources import hypersim, table, vkitti2
from david.pack.sources.hypersim import Hypersim
from david.pack.sources.ibims import Ibims
from david.pack.sources.kitti import Kitti
from david.pack.sources.vkitti2 import Vkitti2

SCENE_SOURCES = {
    "ibims": layouts.ibims,
    "da2k": layouts.da2k,
    "hypersim": layouts.hypersim,
    "vkitti2": layouts.vkitti2,
    "kitti": layouts.kitti,
}


@pytest.mark.parametrize("name", SCENE_SOURCES)
def test_a_set_is_recognised_by_its_layout_alone_and_plausible(name: str, tmp_path: Path) -> None:
    raw = SCENE_SOURCES[name](tmp_path)
    assert table.chosen(raw).name == name
    assert faults(raw) == ""
    with pytest.raises(DavidError, match="no folder there; expected that of"):
        table.SOURCES[name]().scan(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DavidError, match="there"):
        table.SOURCES[name]().scan(tmp_path / "empty")


def test_the_page_on_data_has_a_row_for_every_source() -> None:
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([^`]+)`", rows)) - {"--source"} == set(table.SOURCES)


# iBims-1


@pytest.mark.parametrize("kind", ["mat", "raw"])
def test_ibims_comes_back_in_its_steps_from_either_layout(kind: str, tmp_path: Path) -> None:
    back = packed(layouts.ibims(tmp_path, kind=kind))
    assert {split: [one.key for one in samples] for split, samples in back.items()} == {"test": ["room_00", "room_01"]}
    for one, view in zip(back["test"], views(2), strict=True):
        valid, opaque = layouts.ibims_masks(view)
        require(one, np.rint(view.depth_m / IBIMS_STEP_M), IBIMS_STEP_M, valid & opaque)
        assert np.abs(one.depth_m - view.depth_m)[one.depth_valid].max() < 0.0005
        assert one.intrinsics is not None and np.allclose(one.intrinsics, view.intrinsics, atol=1e-9)
        assert np.array_equal(one.rgb, view.rgb)


def test_ibims_has_edges_and_planes_whose_points_lie_on_them(tmp_path: Path) -> None:
    seen = 0
    for one, view in zip(packed(layouts.ibims(tmp_path))["test"], views(2), strict=True):
        assert np.array_equal(one.value("edges"), layouts.ibims_edges(view) * 255) and one.value("edges").any()
        assert one.intrinsics is not None
        (fx, _, cx), (_, fy, cy), _ = one.intrinsics
        rows, columns = np.indices(one.depth_m.shape) + 0.5
        points = (
            np.stack([(columns - cx) / fx, np.ones(rows.shape), -(rows - cy) / fy], axis=-1) * one.depth_m[..., None]
        )
        assert list(one.meta["planes"]) == ["wall", "table", "floor"] and one.meta["planes"]["table"] == []
        for name, planes in one.meta["planes"].items():
            assert set(np.unique(one.value(name))) - {0} == set(range(1, len(planes) + 1))
            for number, plane in enumerate(planes, start=1):
                on = (one.value(name) == number) & one.depth_valid
                assert np.abs(points[on] @ plane[4:7] + plane[3]).max() < 0.001
                seen += on.any()
    assert seen >= 4


def test_ibims_takes_the_matlab_files_where_both_are_there_and_images_of_the_list_alone(tmp_path: Path) -> None:
    layouts.ibims(layouts.ibims(tmp_path, kind="raw"))
    source = Ibims()
    assert [one.name for one in source.fields(source.scan(tmp_path))] == [
        "rgb", "depth", "edges", "wall", "table", "floor",
    ]  # fmt: skip
    (tmp_path / "imagelist.txt").write_text("room_01\n\nroom_07\n")
    with pytest.raises(BadSample, match=r"imagelist.txt, line 3: rgb `room_07.mat` is not there; expected it under"):
        source.scan(tmp_path)
    assert list(source.scan(tmp_path, {})) == ["room_01"]
    (tmp_path / "imagelist.txt").unlink()
    assert list(source.scan(tmp_path / "ibims1_core_raw")) == ["room_00", "room_01"]


def test_ibims_in_millimetres_and_other_matlab_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"room_00.mat: its depth reaches [0-9.,]+, expected metres up to 50"):
        packed(layouts.ibims(tmp_path / "a", 1, per_metre=1000))
    assert "is it in mm or metres" in faults(layouts.ibims(tmp_path / "b", 1, "raw", per_metre=1000 / 65535 * 5))
    raw = layouts.ibims(tmp_path / "c", 1)
    (raw / "ibims1_core_mat/room_00.mat").write_bytes(b"no MATLAB file" * 20)
    with pytest.raises(BadSample, match="room_00.mat: no image of iBims-1 .*can't be read as a MATLAB file"):
        packed(raw)


@pytest.mark.parametrize("deflated", [False, True])
def test_a_matlab_file_holds_what_scipy_says_it_holds(deflated: bool, tmp_path: Path) -> None:
    scipy_io, rng = pytest.importorskip("scipy.io"), np.random.default_rng(0)
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    numbers = {f"n_{kind}": (rng.random((3, 5, 2)) * 100).astype(kind) for kind in kinds}
    more = {
        "few": np.array([[7]], np.uint8),
        "none": np.zeros((0, 4)),
        "yes": np.array([[True, False]]),
        "text": "corridor",
    }
    cells = np.array(["a/b", "c"], object).reshape(1, 2)
    held = numbers | more | {"cells": cells, "inner": {"deep": np.arange(4.0), "word": "floor"}}
    scipy_io.savemat(tmp_path / "a.mat", held | {"data": dict(held)}, do_compression=deflated)
    ours, theirs = matlab.load(tmp_path / "a.mat"), scipy_io.loadmat(tmp_path / "a.mat")
    assert ours.keys() == theirs.keys() - {"__header__", "__version__", "__globals__"}
    for mine, other in ((ours, theirs), (ours["data"][0, 0], theirs["data"][0, 0])):
        for name in (*numbers, "few", "none", "yes"):
            assert np.array_equal(mine[name], other[name]) and mine[name].dtype == other[name].dtype, name
        assert mine["text"] == other["text"][0] == "corridor"
        assert [str(one[0]) for one in other["cells"][0]] == mine["cells"][0].tolist() == ["a/b", "c"]
        inner = mine["inner"][0, 0]
        assert np.array_equal(inner["deep"], other["inner"][0, 0]["deep"]) and inner["word"] == "floor"


def test_a_matlab_file_that_inflates_without_end_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mat"
    pytest.importorskip("scipy.io").savemat(path, {"data": np.zeros(1 << 22, np.uint8)}, do_compression=True)
    assert path.stat().st_size < 1 << 14
    assert matlab.load(path)["data"].size == 1 << 22
    with pytest.raises(DavidError, match="it inflates to more than 1,048,576 bytes"):
        matlab.load(path, most=1 << 20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=4), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_matlab_file_is_a_bad_sample_or_still_one(
    damaged: tuple[Ibims, str, Entry, bytes], places: list[int], value: int, cut: bool
) -> None:
    source, key, entry, whole = damaged
    data = bytearray(whole)
    for place in places:
        data[place % len(data)] = value
    data = bytes(data[: places[0] % len(data)] if cut else data)
    with suppress(BadSample):
        assert source.decode(key, entry, {"rgb": data}, 1 << 16).rgb.ndim == 3


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ibims, str, Entry, bytes]:
    """A MATLAB file of iBims-1 that is stored, so that a changed byte is one of its content, and what reads it."""
    raw = layouts.ibims(tmp_path_factory.mktemp("damaged"), 1)
    ((key, entry),) = Ibims().scan(raw).items()
    content = matlab.load(raw / "ibims1_core_mat" / "room_00.mat")
    pytest.importorskip("scipy.io").savemat(raw / "stored.mat", {"data": content["data"][0, 0]})
    return Ibims(), key, entry, (raw / "stored.mat").read_bytes()


def test_planes_are_shown_in_colours_of_their_own_and_shades_as_they_are(tmp_path: Path) -> None:
    one = packed(layouts.ibims(tmp_path, 1))["test"][0]
    shown, numbers = preview.picture(one, "wall"), one.value("wall")
    colours = [np.unique(shown[numbers == number], axis=0) for number in np.unique(numbers)]
    assert len(colours) > 2 and all(len(one) == 1 for one in colours)
    apart = [np.abs(a.astype(int) - b).sum() for a, b in combinations(colours, 2)]
    assert min(apart) > 60 and not preview.picture(one, "table").any()
    assert set(np.unique(preview.picture(one, "edges"))) == {0, 255}


# DA-2K


def test_da2k_carries_its_pairs_closer_point_first_and_its_kind_of_scene(tmp_path: Path) -> None:
    raw = layouts.da2k(tmp_path)
    samples = packed(raw)["test"]
    assert [one.key for one in samples] == [
        "images-adverse_style-picture_1", "images-indoor-picture_0", "images-underwater-picture_2",
    ]  # fmt: skip
    for one in samples:
        view = views(3)[int(one.key[-1])]
        assert one.meta["scene_type"] == layouts.DA2K_SCENES[int(one.key[-1])] and len(one.meta["pairs"]) == 3
        for row, column, other_row, other_column in one.meta["pairs"]:
            assert view.depth_m[row, column] < view.depth_m[other_row, other_column]
        assert one.values == {}


WRONG_PAIRS = {
    "no scene type": ({"images/a.jpg": []}, "lies in none of the folders indoor, outdoor"),
    "no pairs": ({"images/indoor/picture_0.jpg": []}, "has no pair of points"),
    "no points": ({"images/indoor/picture_0.jpg": [{"point1": [1, 2]}]}, "no pair of points: .*point1.*KeyError"),
    "outside": (
        {"images/indoor/picture_0.jpg": [{"point1": [60, 20], "point2": [1, 1], "closer_point": "point1"}]},
        r"lies at row 60, column 20 .* but the picture is 48 rows x 64 columns: are they \[row, column\]\?",
    ),
    "one point": (
        {"images/indoor/picture_0.jpg": [{"point1": [6, 20], "point2": [6, 20], "closer_point": "point1"}]},
        "no pair of points: .*both points are the same",
    ),
    "no picture": (
        {"images/indoor/a.jpg": [{"point1": [1, 2], "point2": [3, 4], "closer_point": "point2"}]},
        "rgb `images/indoor/a.jpg` is not there",
    ),
    "another file": (["images/indoor/picture_0.jpg"], "expected a picture's path -> its pairs"),
}


@pytest.mark.parametrize("fault", WRONG_PAIRS)
def test_wrong_pairs_are_named(fault: str, tmp_path: Path) -> None:
    content, told = WRONG_PAIRS[fault]
    layouts.da2k(tmp_path)
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DavidError, match=told):
        packed(tmp_path)


# Hypersim


def test_hypersims_rays_become_depth_along_the_axis(tmp_path: Path) -> None:
    back = packed(layouts.hypersim(tmp_path))
    assert {split: [one.key for one in samples] for split, samples in back.items()} == {
        "train": ["ai_001_001-cam_00-0007"], "val": ["ai_002_001-cam_00-0007"], "test": ["ai_003_001-cam_00-0007"],
    }  # fmt: skip
    for number, (one,) in enumerate(back.values()):
        view = layouts.hypersim_view(number)
        assert np.array_equal(one.depth_valid, ~holes(view))
        apart = np.abs(one.depth_m / view.depth_m - 1)[one.depth_valid]
        assert apart.max() < 2**-11 + 2**-11  # of float16, and of its range's steps
        assert (view.ray_m / view.depth_m).max() > 1.2
        assert one.intrinsics is not None and np.allclose(one.intrinsics, view.intrinsics)


def test_the_share_along_the_axis_is_the_plain_formula_at_full_size() -> None:
    fast = hypersim.along_axis(768, 1024)
    for row, column in ((0, 0), (383, 511), (767, 1), (100, 900)):
        x, y = column - 511.5, row - 383.5
        assert fast[row, column] == pytest.approx(886.81 / (x * x + y * y + 886.81 * 886.81) ** 0.5, rel=1e-12)


def test_hypersims_table_decides_what_is_public_and_whose_split(tmp_path: Path) -> None:
    raw = layouts.hypersim(tmp_path, 4)
    assert len(Hypersim().scan(raw)) == 3  # the fourth is not in the public release
    path = raw / hypersim.SPLITS
    path.rename(tmp_path / "elsewhere.csv")
    assert {one.split for one in Hypersim(splits=tmp_path / "elsewhere.csv").scan(raw).values()} == {
        "train", "val", "test",
    }  # fmt: skip
    assert {one.split for one in Hypersim().scan(raw).values()} <= {"train", "val"}
    share = np.mean([hypersim._split(f"ai_{n:03}_{m:03}") == "val" for n in range(1, 56) for m in range(1, 11)])
    assert 0.03 < share < 0.07
    path.write_text("scene_name,camera_name\nai_001_001,cam_00\n")
    with pytest.raises(DavidError, match="has no column frame_id; expected metadata_images_split_scene_v1.csv"):
        Hypersim().scan(raw)


def test_a_split_of_hypersim_that_is_none_is_named_by_its_line(tmp_path: Path) -> None:
    raw = layouts.hypersim(tmp_path)
    path = raw / "metadata_images_split_scene_v1.csv"
    path.write_text(path.read_text().replace(",val", ",Val Set"))
    with pytest.raises(DavidError, match=f"{path}, line 3: the split is `Val Set`, expected a-z, 0-9 and _"):
        Hypersim().scan(raw)


def test_what_is_no_frame_of_hypersim_is_named(tmp_path: Path) -> None:
    raw = layouts.hypersim(tmp_path, 1)
    depth = next(raw.rglob("*.hdf5"))
    whole = depth.read_bytes()
    depth.write_bytes(b"cut")
    with pytest.raises(BadSample, match="no HDF5 file with an array `dataset`"):
        packed(raw)
    with pytest.importorskip("h5py").File(depth, "w") as file:
        file.create_dataset("dataset", data=np.ones((48, 60), np.float16))
    with pytest.raises(BadSample, match="48 rows x 60 columns, expected 768 x 1024 or of its shape"):
        packed(raw)
    depth.write_bytes(whole)
    next(raw.rglob("*.jpg")).unlink()
    with pytest.raises(BadSample, match="depth_meters.hdf5: has no rgb beside it"):
        Hypersim().scan(raw)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.integers(0, 1 << 20), min_size=1, max_size=8), value=st.integers(0, 255), head=st.booleans())
@example(places=[8], value=9, head=True)  # the version of the superblock
def test_a_damaged_file_of_distances_is_a_bad_sample_or_still_one(
    frame: tuple[str, Entry, dict[str, bytes]], places: list[int], value: int, head: bool
) -> None:
    key, entry, whole = frame
    data = bytearray(whole["depth"])
    for place in places:
        data[place % (2200 if head else len(data))] = value
    with suppress(BadSample):
        assert Hypersim().decode(key, entry, whole | {"depth": bytes(data)}, 1 << 16).depth_m.shape == WIDE


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Entry, dict[str, bytes]]:
    raw = layouts.hypersim(tmp_path_factory.mktemp("frame"), 1)
    ((key, entry),) = Hypersim().scan(raw).items()
    return key, entry, Hypersim().read(entry)


# Virtual KITTI 2


@pytest.mark.parametrize("apart", [False, True])
def test_vkitti2_comes_back_in_centimetres_to_80_m_and_with_its_sky(apart: bool, tmp_path: Path) -> None:
    raw = layouts.vkitti2(tmp_path, apart=apart)
    assert isinstance(table.chosen(raw), Vkitti2)
    back = [one for samples in packed(raw).values() for one in samples]
    assert sorted(one.key for one in back) == [f"Scene01-clone-{c}-0000{n}" for c in (0, 1) for n in (0, 1)]
    for one in back:
        view = rooms.street(int(one.key[-7]), int(one.key[-1]), *STREET)
        steps = layouts.vkitti2_steps(view)
        require(one, steps, 0.01, steps <= 8000)
        assert np.array_equal(np.isposinf(one.depth_m), np.isinf(view.depth_m))
        assert (steps > 8000).sum() > np.isinf(view.depth_m).sum() > 0  # some of it is beyond 80 m and no sky
        assert one.intrinsics is not None and np.allclose(one.intrinsics, view.intrinsics, atol=1e-9)


def test_no_frame_of_vkitti2_is_trained_on_and_measured_on() -> None:
    frames = [(f"Scene{scene:02}", f"{frame:05}") for scene in (1, 2, 6, 18, 20) for frame in range(450)]
    held_out = {place for place in frames if vkitti2._split(*place) == "val"}
    assert 0.01 < len(held_out) / len(frames) < 0.12
    assert all((scene, f"{int(frame) // 50 * 50:05}") in held_out for scene, frame in held_out)


# KITTI


def test_kitti_by_lists_comes_back_in_256ths_and_frames_without_truth_have_none(tmp_path: Path) -> None:
    back = packed(layouts.kitti(tmp_path))
    keys = {split: [one.key[-10:] for one in samples] for split, samples in back.items()}
    assert keys == {"test": ["0000000002", "0000000003"], "train": ["0000000000", "0000000001"]}
    for one in [*back["train"], *back["test"]]:
        view = rooms.street(0, int(one.key[-10:]), *STREET)
        steps = layouts.kitti_steps(view) if int(one.key[-1]) < 3 else np.zeros(STREET)
        require(one, steps, 1 / 256)
        assert steps.any() or one.key[-1] == "3"
        assert one.intrinsics is not None and np.allclose(one.intrinsics, view.intrinsics, atol=1e-9)
        assert one.meta["focal_px"] == pytest.approx(view.intrinsics[0, 0], abs=1e-4)
        assert np.array_equal(one.rgb, view.rgb)


def test_kittis_crop_moves_truth_and_camera_together(tmp_path: Path) -> None:
    raw = layouts.kitti(tmp_path, 1, 0)
    rgb = np.random.default_rng(0).integers(0, 256, (375, 1242, 3), np.uint8)
    stored = np.random.default_rng(1).integers(0, 20_000, (375, 1242)).astype(np.uint16)
    layouts.picture(next(raw.rglob("image_02/data/*.png")), rgb)
    layouts.picture(next(raw.rglob("groundtruth/image_02/*.png")), stored)
    ((key, entry),) = Kitti(crop="kb").scan(raw).items()
    one, full = Kitti(crop="kb").load(key, entry), Kitti().load(key, entry)
    assert np.array_equal(one.rgb, rgb[23:, 13:1229]) and one.rgb.shape == (352, 1216, 3)
    assert np.array_equal(np.nan_to_num(one.value("depth")), stored[23:, 13:1229])
    assert one.intrinsics is not None and full.intrinsics is not None
    assert np.allclose(full.intrinsics - one.intrinsics, [[0, 0, 13], [0, 0, 23], [0, 0, 0]])
    assert Kitti(crop="kb").options() == {"crop": "kb"}
    with pytest.raises(DavidError, match="--crop is `garg`, but can only be none or kb"):
        Kitti(crop="garg")
    with pytest.raises(BadSample, match="48 rows x 160 columns, less than --crop kb keeps, 352 x 1216"):
        packed(layouts.kitti(tmp_path / "small", 1, 0), Kitti(crop="kb"))


def test_kittis_truth_lies_where_it_is_published_too_and_cameras_may_lack(tmp_path: Path) -> None:
    raw = layouts.kitti(tmp_path, calibrated=False)
    (raw / "gts").rename(raw / "val")
    (raw / "data_depth_annotated").mkdir()
    (raw / "val").rename(raw / "data_depth_annotated" / "val")
    back = packed(raw)
    assert [one.intrinsics for samples in back.values() for one in samples] == [None] * 4
    path = raw / "kitti_eigen_train_files_with_gt.txt"
    layouts.kitti(tmp_path / "other", 1, 0)
    path = tmp_path / "other" / path.name
    path.write_text(path.read_text().rsplit(" ", 1)[0] + " 707.0912\n")
    with pytest.raises(BadSample, match=r"its list tells a focal length of 707.091 pixels, its camera has 92.8"):
        packed(tmp_path / "other")


def test_lists_of_both_nyu_and_kitti_tell_which_it_is_by_the_pictures_that_are_there(tmp_path: Path) -> None:
    layouts.nyu(tmp_path / "nyu", 1, 1)
    layouts.kitti(tmp_path / "kitti", 1, 1)
    for raw, other in (("nyu", "kitti"), ("kitti", "nyu")):
        (tmp_path / raw / "train_test_inputs").mkdir()
        for path in (tmp_path / other).glob("*.txt"):
            (tmp_path / raw / "train_test_inputs" / path.name).write_bytes(path.read_bytes())
    assert [table.chosen(tmp_path / name).name for name in ("nyu", "kitti")] == ["nyu", "kitti"]


def test_kitti_in_millimetres_is_refused(tmp_path: Path) -> None:
    raw = layouts.kitti(tmp_path, 2, 0)
    for path in raw.rglob("groundtruth/image_02/*.png"):
        steps = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float64)
        layouts.picture(path, np.minimum(np.rint(steps * 1000 / 256), 65534).astype(np.uint16))
    assert "m deep (median), expected 120 at most: is depth in finer steps?" in faults(raw)
