"""Sets of metric depth pack from their own layouts: metres come back exactly, splits and cameras as published, and data
that is not what its layout says is refused with what was seen."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import layouts
import numpy as np
import pytest
import rooms
from layouts import WIDE, holes, steps, views

from david.pack import BadSample, DavidError, Sample, read
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Seen
from david.pack.check.verify import verify
from david.pack.shards import manifest, shard
from david.pack.sources import metres, nyu_labeled, sunrgbd, table
from david.pack.sources.folder import Folder
from david.pack.sources.nyu import Nyu
from david.pack.sources.source import Source
from david.pack.sources.sunrgbd import SunRgbd
from david.pack.work import build, plan

OPTIONS = plan.PackOptions(image="webp", shard_samples=3)


def packed(raw: Path, source: Source | None = None) -> dict[str | None, list[Sample]]:
    """What comes back of a set's bytes, by split, in the order of keys; without processes or files."""
    source = source or table.chosen(raw)
    found = source.scan(raw)
    fields, back = source.fields(found), defaultdict(list)
    for key, entry in found.items():
        sample, _, _ = evidence.examine(source.load(key, entry), fields)
        back[entry.split].append(shard.decode(shard.encode(sample, "webp", "lz4", fields), "lz4", fields))
    return back


def faults(raw: Path, source: Source | None = None) -> str:
    """What packing finds wrong with the conventions of a set, judged over all of its samples."""
    source = source or table.chosen(raw)
    found = source.scan(raw)
    seen = [evidence.examine(source.load(*one), source.fields(found))[2] for one in found.items()]
    told = conventions.faults([Seen(raw, one) for one in seen], source.checks)
    assert all(one.convention == "depth" for one in told)
    return "; ".join(one.told for one in told)


def require(one: Sample, stored: np.ndarray, step_m: float, known: np.ndarray | None = None) -> None:
    """That a sample's depth is these whole steps, to the bit, and known just there."""
    known = stored > 0 if known is None else known
    assert np.array_equal(one.depth_valid, known)
    assert np.array_equal(one.depth_m[known], (stored[known] * np.float64(step_m)).astype(np.float32))
    assert np.isnan(one.depth_m[~known & ~np.isposinf(one.depth_m)]).all()


# Rooms themselves


@pytest.mark.parametrize("draw", [rooms.room, rooms.street])
def test_drawn_depth_lies_on_the_planes_that_were_drawn(draw: Callable[..., rooms.View]) -> None:
    met = 0
    for number in range(4):
        view = draw(3, number)
        rows, columns = np.indices(view.depth_m.shape) + 0.5
        (fx, _, cx), (_, fy, cy), _ = view.intrinsics
        rays = np.stack([(columns - cx) / fx, -(rows - cy) / fy, np.ones(rows.shape)], axis=-1)
        for surface, (*normal, away) in view.planes.items():
            on = view.surface == surface
            points = rays[on] * view.depth_m[on][:, None]
            assert np.abs(points @ normal + away).max(initial=0) < 1e-9
            assert (points @ normal < 0).all()  # it faces the camera
            met += on.any()
        seen = np.isfinite(view.depth_m)
        assert np.allclose(view.ray_m[seen], np.linalg.norm(rays[seen] * view.depth_m[seen][:, None], axis=-1))
        assert seen.all() == (draw is rooms.room) and (view.depth_m[seen] > 0.1).all()
        assert np.array_equal(draw(3, number).rgb, view.rgb)
    assert met >= 4


# NYU Depth V2


def test_nyu_by_lists_comes_back_in_millimetres_with_its_splits(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw")
    assert isinstance(table.chosen(raw), Nyu)
    build.build(raw, tmp_path / "shards", OPTIONS, workers=1)
    assert verify(tmp_path / "shards", deep=True, workers=1)[1] == []
    back = {split: sorted(read(tmp_path / "shards", split), key=lambda one: one.key) for split in ("train", "test")}
    keys, truth = {split: [one.key for one in samples] for split, samples in back.items()}, views(6)
    assert keys == {
        "train": ["scene_0000-rgb_00000", "scene_0000-rgb_00001", "scene_0001-rgb_00002", "scene_0001-rgb_00003"],
        "test": ["scene_0002-rgb_00004", "scene_0002-rgb_00005"],
    }
    for one, view in zip([*back["train"], *back["test"]], truth, strict=True):
        require(one, steps(view), 0.001)
        assert one.intrinsics is None  # of another size than the sensor's
        assert np.abs(one.rgb.astype(int) - view.rgb).mean() < 8
    assert [one.coding for one in manifest.load(tmp_path / "shards").fields] == ["image", "u16-linear"]


def test_nyu_of_full_size_has_the_sensors_camera_and_no_depth_beyond_its_picture(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw", train=0, test=1, size=(480, 640))
    ((key, entry),) = Nyu().scan(raw).items()
    one, (view,) = Nyu().load(key, entry), views(1, (480, 640))
    inside = np.zeros((480, 640), bool)
    inside[7:474, 7:632] = True
    assert one.intrinsics is not None and np.array_equal(one.intrinsics, nyu_labeled.INTRINSICS)
    assert np.array_equal(one.depth_valid, inside & ~holes(view)) and entry.split == "test"


def test_one_list_leaves_the_other_split_out_and_lies_anywhere(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw")
    (raw / "train_test_inputs").mkdir()
    name = "nyudepthv2_test_files_with_gt.txt"
    (raw / name).rename(raw / "train_test_inputs" / name)
    assert len(Nyu().scan(raw)) == 6
    for told in (Path("train_test_inputs") / name, raw / "train_test_inputs" / name):
        assert {one.split for one in Nyu(test_list=told).scan(raw).values()} == {"test"}


def test_what_a_list_says_decides_the_set_beside_the_files(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw")
    before = plan.plan(Nyu().scan(raw), OPTIONS, source=Nyu())
    path = raw / "nyudepthv2_train_files_with_gt.txt"
    path.write_text(path.read_text().replace("518.8579", "518.9", 1))
    after = plan.plan(Nyu().scan(raw), OPTIONS, source=Nyu())
    assert before.raw["digest"] != after.raw["digest"]
    assert sum(before.contents[key] != after.contents[key] for key in before.contents) == 1


WRONG_LINES = {
    "two words": ("a.jpg b.png", "line 1: 2 words, expected three: rgb, depth and focal length"),
    "no such file": ("/a.jpg /b.png 518.8579", "line 1: rgb `a.jpg` is not there; expected it under .*sync or .*raw"),
    "a path that leads out": ("../a.jpg b.png 518.8579", "line 1: rgb is `../a.jpg`, expected a path within"),
    "twice": (
        "/scene_0000/rgb_00000.jpg None 518.8579\n/scene_0000/rgb_00000.jpg None 518.8579",
        "line 2: scene_0000/rgb_00000.jpg is there twice, before at .*line 1",
    ),
}


@pytest.mark.parametrize("fault", WRONG_LINES)
def test_a_wrong_line_is_named(fault: str, tmp_path: Path) -> None:
    text, told = WRONG_LINES[fault]
    raw = layouts.nyu(tmp_path / "raw")
    (raw / "nyudepthv2_train_files_with_gt.txt").write_text(text)
    with pytest.raises(BadSample, match=told):
        Nyu().scan(raw)
    bad: dict[str, BadSample] = {}
    assert {one.split for one in Nyu().scan(raw, bad).values()} >= {"test"} and len(bad) == 1


def test_an_empty_list_is_no_set_without_training_samples(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw", 2, 1)
    (raw / "nyudepthv2_train_files_with_gt.txt").write_text("\n")
    with pytest.raises(DavidError, match="train_files_with_gt.txt: an empty list; expected lines of rgb, depth and fo"):
        Nyu().scan(raw)


def test_a_folder_without_lists_and_another_cameras_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="none of nyudepthv2_train_files_with_gt.txt and .* --train-list, --test-list"):
        Nyu().scan(tmp_path)
    raw = layouts.nyu(tmp_path / "raw", 0, 1)
    path = raw / "nyudepthv2_test_files_with_gt.txt"
    path.write_text(path.read_text().replace("518.8579", "721.5377"))
    ((key, entry),) = Nyu().scan(raw).items()
    with pytest.raises(BadSample, match=r"a focal length of 721.5377 pixels, expected 518.8579, that of NYU"):
        Nyu().load(key, entry)


@pytest.mark.parametrize(
    ("per_metre", "told"),
    [(100, "is it in centimetres or metres"), (5000, "is it in finer steps than millimetres?")],
)
@pytest.mark.parametrize("count", [2, 33])
def test_nyu_in_another_unit_is_refused_with_what_was_seen(
    per_metre: float, told: str, count: int, tmp_path: Path
) -> None:
    said = faults(layouts.nyu(tmp_path, train=count, test=0, size=(12, 16), per_metre=per_metre))
    middle = np.median([np.median(view.depth_m[~holes(view)]) for view in views(count, (12, 16))])
    assert told in said and "median of the samples' medians" in said
    assert float(said.partition("depth is ")[2].split()[0]) == pytest.approx(middle * per_metre / 1000, rel=0.05)


def test_rooms_themselves_are_plausible(tmp_path: Path) -> None:
    assert faults(layouts.nyu(tmp_path / "many", 33, 0, (12, 16))) == faults(layouts.nyu(tmp_path / "few", 1, 1)) == ""


def test_depth_of_8_bits_is_refused(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path, 0, 1)
    layouts.picture(raw / "official_splits/test/scene_0000/sync_depth_00000.png", np.full(WIDE, 90, np.uint8))
    with pytest.raises(BadSample, match="sync_depth_00000.png: expected a PNG of 16 bits, found 8: is it for show?"):
        packed(raw)


def test_centimetres_stop_the_command_in_one_sentence(tmp_path: Path) -> None:
    raw = layouts.nyu(tmp_path / "raw", 2, 0, per_metre=100)
    with pytest.raises(DavidError, match="depth is 0.[0-9]+ m .* is it in centimetres or metres") as error:
        build.build(raw, tmp_path / "shards", OPTIONS, workers=1)
    assert "\n" not in str(error.value) and not (tmp_path / "shards" / manifest.NAME).exists()


# SUN RGB-D


@pytest.mark.parametrize("kind", sunrgbd.DEPTHS)
def test_sunrgbd_as_published_comes_back_in_millimetres(kind: str, tmp_path: Path) -> None:
    raw = layouts.sunrgbd(tmp_path / "raw")
    assert isinstance(table.chosen(raw), SunRgbd)
    back = packed(raw, SunRgbd(depth_kind=kind))
    keys = {split: [one.key for one in samples] for split, samples in back.items()}
    names = [scene.replace("/", "-") for scene in layouts.SUN_SCENES]
    assert keys == {"test": names[:1], "train": names[1:]}
    for one, view in zip([*back["test"], *back["train"]], views(3), strict=True):
        filled = np.rint(view.depth_m * 1000).astype(np.uint16)
        require(one, steps(view) if kind == "depth" else filled, 0.001)
        assert one.intrinsics is not None and np.allclose(one.intrinsics, view.intrinsics, atol=1e-9)


def test_sunrgbd_without_the_official_split_has_none_and_beyond_8_m_nothing_is_known(tmp_path: Path) -> None:
    raw = layouts.sunrgbd(tmp_path / "raw", 1, official=False)
    mm = steps(views(1)[0])
    mm[:10] = np.linspace(7000, 9000, 640, dtype=np.uint16).reshape(10, 64)
    name = layouts.SUN_SCENES[0]
    layouts.picture(raw / name / "depth" / "0000000_abs.png", layouts.bits_rotated(mm))
    ((key, entry),) = SunRgbd().scan(raw).items()
    assert entry.split is None
    one = SunRgbd().load(key, entry)
    assert np.array_equal(one.depth_valid, (mm > 0) & (mm <= 8000)) and (mm > 8000).sum() > 300


def test_all_millimetres_survive_the_rotation_of_their_bits() -> None:
    mm = np.arange(1 << 16, dtype=np.uint16)
    stored = layouts.bits_rotated(mm)
    assert np.array_equal(metres.unrotated(stored), mm)
    plain = [((int(d) >> 3) | (int(d) << 13)) & 0xFFFF for d in stored[::97]]
    assert np.array_equal(metres.unrotated(stored)[::97], plain)


def test_sunrgbd_decoded_is_a_test_set_in_plain_millimetres(tmp_path: Path) -> None:
    raw = layouts.sunrgbd_decoded(tmp_path / "raw")
    assert isinstance(table.chosen(raw), SunRgbd)
    back = packed(raw)
    assert {split: [one.key for one in samples] for split, samples in back.items()} == {
        "test": [f"img-{number:06}" for number in range(3)]
    }
    for one, view in zip(back["test"], views(3), strict=True):
        require(one, steps(view), 0.001)


def test_raw_depth_in_the_decoded_layout_is_refused_and_so_is_plain_depth_in_the_published_one(tmp_path: Path) -> None:
    with pytest.raises(
        BadSample, match="depths are beyond 8 m if .* as plain millimetres, and 0% if as SUN RGB-D's raw"
    ):
        packed(layouts.sunrgbd_decoded(tmp_path / "a", 1, rotated=True))
    raw = layouts.sunrgbd(tmp_path / "b", 1)
    layouts.picture(raw / layouts.SUN_SCENES[0] / "depth" / "0000000_abs.png", steps(views(1)[0]))
    with pytest.raises(
        BadSample, match=r"8[0-9]% of its depths are beyond 8 m if .* bits are rotated, and 0% if as plain"
    ):
        packed(raw)


def test_a_near_raw_depth_is_told_by_its_low_bits_alone(tmp_path: Path) -> None:
    near = np.linspace(300, 900, 999).astype(np.uint16)  # millimetres; all within 8 m even if they are read as plain
    assert metres.rotated(layouts.bits_rotated(near)) and not metres.rotated(near)
    assert not metres.rotated(np.full((50, 50), 800, np.uint16))  # one step tells nothing
    raw = layouts.sunrgbd_decoded(tmp_path, 1)
    close = np.resize(near, WIDE)
    for stored, right in ((close, True), (layouts.bits_rotated(close), False)):
        layouts.picture(raw / "gt/gt/img-000000.png", stored)
        if right:
            assert packed(raw)["test"][0].depth_valid.all()
            continue
        with pytest.raises(
            BadSample, match="its depths, 2400 to 7200, are multiples of 8, as in SUN RGB-D's raw files"
        ):
            packed(raw)


WRONG_SUN = {
    "two pictures": (lambda raw: (raw / "kv1/NYUdata/NYU0001/image/b.jpg").touch(), "2 pictures in its folder image"),
    "no depth": (
        lambda raw: next((raw / "kv1/NYUdata/NYU0001/depth").iterdir()).unlink(),
        "0 pictures in its folder depth",
    ),
    "in no split": (
        lambda raw: (raw / "kv1/NYUdata/NYU0001").rename(raw / "kv1/NYUdata/NYU0002"),
        "NYU0002: is in no split of .*allsplit.mat",
    ),
}


def test_a_scene_of_sunrgbd_in_both_splits_is_refused(tmp_path: Path) -> None:
    raw = layouts.sunrgbd(tmp_path / "raw")
    both = np.array([f"/n/fs/SUNRGBD/{scene}/" for scene in layouts.SUN_SCENES], object).reshape(1, -1)
    path = raw / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    pytest.importorskip("scipy.io").savemat(path, {"alltrain": both, "alltest": both[:, :1]})
    with pytest.raises(
        DavidError, match="allsplit.mat: has 1 scenes to train on and to test on, the first kv1/NYUdata"
    ):
        SunRgbd().scan(raw)


@pytest.mark.parametrize("fault", WRONG_SUN)
def test_a_sample_of_sunrgbd_that_is_not_whole_is_named(fault: str, tmp_path: Path) -> None:
    change, told = WRONG_SUN[fault]
    raw = layouts.sunrgbd(tmp_path / "raw")
    change(raw)
    with pytest.raises(BadSample, match=told):
        SunRgbd().scan(raw)
    assert len(SunRgbd().scan(raw, {})) == 2


def test_options_of_sunrgbd_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="--depth-kind is `raw`, but can only be depth or depth_bfx"):
        SunRgbd(depth_kind="raw")
    with pytest.raises(DavidError, match="--depth-kind depth_bfx is for SUN RGB-D as published"):
        SunRgbd(depth_kind="depth_bfx").scan(layouts.sunrgbd_decoded(tmp_path))
    with pytest.raises(DavidError, match="neither folders kv1, kv2, realsense, xtion there, nor rgb/rgb and gt/gt"):
        SunRgbd().scan(tmp_path / "rgb")


# Lists whose columns have other names


def listed_rooms(folder: Path, rotated: bool = False) -> list[dict[str, object]]:
    """Rooms with depth as a sensor saw it and filled, and a JSON entry for each, as training code keeps them."""
    entries = []
    for number, view in enumerate(views(3)):
        names = {kind: f"set/{kind}/{number}.png" for kind in ("image", "depth", "depth_bfx")}
        filled = np.rint(view.depth_m * 1000).astype(np.uint16)
        layouts.picture(folder / names["image"], view.rgb)
        layouts.picture(folder / names["depth"], layouts.bits_rotated(steps(view)) if rotated else steps(view))
        layouts.picture(folder / names["depth_bfx"], layouts.bits_rotated(filled) if rotated else filled)
        entries.append({**names, "K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "annotations": []})
    return entries


@pytest.mark.parametrize("kind", ["depth", "depth_bfx"])
def test_a_json_list_is_read_by_its_own_names(kind: str, tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(listed_rooms(tmp_path, rotated=True), indent=1))
    columns = f"rgb=image,depth={kind}"
    source = Folder(list=Path("train.json"), columns=columns, depth_scale=0.001, depth_bits="rotated")
    (samples,) = packed(tmp_path, source).values()
    for one, view in zip(samples, views(3), strict=True):
        require(one, steps(view) if kind == "depth" else np.rint(view.depth_m * 1000), 0.001)
    assert source.options()["columns"] == columns


def test_a_csv_without_a_header_is_read_by_its_places(tmp_path: Path) -> None:
    lines = [f"{one['image']},{one['depth']}" for one in listed_rooms(tmp_path)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    source = Folder(list=tmp_path / "train.csv", columns="rgb=1,depth=2", depth_scale=0.001)
    (samples,) = packed(tmp_path, source).values()
    for one, view in zip(samples, views(3), strict=True):
        require(one, steps(view), 0.001)
    (tmp_path / "train.csv").write_text("picture,truth,more\n" + "".join(f"{line},x\n" for line in lines))
    named = Folder(list=tmp_path / "train.csv", columns="depth=truth,rgb=picture", depth_scale=0.001)
    assert [one.values["depth"].size for one in packed(tmp_path, named)[None]] == [WIDE[0] * WIDE[1]] * 3


def test_raw_depth_of_sunrgbd_read_as_plain_is_refused_unless_it_is_said_to_be_plain(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(listed_rooms(tmp_path, rotated=True)))
    told = {"list": Path("train.json"), "columns": "rgb=image,depth=depth", "depth_scale": 0.001}
    with pytest.raises(
        BadSample, match=r"depth/0.png: its depths, [0-9]+ to [0-9]+, are multiples of 8, .* rotated: --"
    ):
        packed(tmp_path, Folder(**told))
    (samples,) = packed(tmp_path, Folder(**told, depth_bits="plain")).values()
    assert 8 < np.nanmedian(samples[0].depth_m) < 50


def test_plain_depth_that_is_said_to_be_rotated_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps(listed_rooms(tmp_path)))
    source = Folder(list=Path("train.json"), columns="rgb=image,depth=depth", depth_scale=0.001, depth_bits="rotated")
    with pytest.raises(BadSample, match=r"depth/0.png: [89].% of its depths are beyond 8 m .* leave out --depth-bits"):
        packed(tmp_path, source)


def test_depth_of_8_bits_in_millimetres_is_asked_about(tmp_path: Path) -> None:
    for number, view in enumerate(views(3)):
        layouts.picture(tmp_path / f"rgb/{number}.png", view.rgb)
        layouts.picture(tmp_path / f"depth/{number}.png", (view.depth_m * 25.5).astype(np.uint8))
    source = Folder(rgb="rgb/*.png", depth="depth/*.png", depth_scale=0.001)
    found = source.scan(tmp_path)
    seen = [evidence.examine(source.load(*one), source.fields(found))[2] for one in found.items()]
    (doubt,) = conventions.doubts([Seen(tmp_path, one) for one in seen], source.checks)
    assert "depth is 0.0" in str(doubt) and "is --depth-scale, metres a step, right?" in str(doubt)


def test_a_json_lists_lines_end_where_json_says_and_its_shape_is_told(tmp_path: Path) -> None:
    (entry, *_), path = listed_rooms(tmp_path), tmp_path / "train.json"
    (tmp_path / entry["image"]).rename(tmp_path / "a\u2028b\x85c.png")
    one = {"rgb": "a\u2028b\x85c.png", "depth": entry["depth"]}
    for text in (json.dumps(one, ensure_ascii=False), json.dumps(one, indent=1), json.dumps([one])):
        path.write_text(text)
        assert len(Folder(list=path, depth_scale=0.001).scan(tmp_path)) == 1
    path.write_text(json.dumps({"train": [one], "val": [one]}, indent=1))
    with pytest.raises(
        DavidError, match="expected a list of objects, found one object with lists in train, val; write"
    ):
        Folder(list=path, depth_scale=0.001).scan(tmp_path)


WRONG_COLUMNS = {
    "no rgb": ("depth=depth", "--columns is `depth=depth`, but says of rgb"),
    "no such name of ours": (
        "rgb=image,deep=depth",
        "--columns is `rgb=image,deep=depth`, but says of rgb, and of any",
    ),
    "twice": ("rgb=image,rgb=depth", "but says of rgb"),
    "names and places": ("rgb=1,depth=depth", "but says of rgb"),
    "not in the list": (
        "rgb=image,depth=gt",
        "has no column `gt`, which --columns says is depth; there is image, depth",
    ),
}


@pytest.mark.parametrize("fault", WRONG_COLUMNS)
def test_wrong_columns_are_named(fault: str, tmp_path: Path) -> None:
    columns, told = WRONG_COLUMNS[fault]
    (tmp_path / "train.json").write_text(json.dumps([{"image": "a.png", "depth": "b.png"}]))
    with pytest.raises(DavidError, match=told):
        Folder(list=tmp_path / "train.json", columns=columns, depth_scale=0.001).scan(tmp_path)


def test_what_a_list_calls_its_columns_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("image,depth\na.png,b.png\n")
    with pytest.raises(DavidError, match=r"the columns are image, depth; .* say which are which: --columns rgb="):
        Folder(list=tmp_path / "train.csv", depth_scale=0.001).scan(tmp_path)
    (tmp_path / "train.csv").write_text("a.png\n")
    with pytest.raises(BadSample, match="line 1: 1 cells, --columns names number 2"):
        Folder(list=tmp_path / "train.csv", columns="rgb=1,depth=2", depth_scale=0.001).scan(tmp_path)
    with pytest.raises(DavidError, match="--columns says how to read a list; give it with --list FILE"):
        Folder(columns="rgb=1")
    with pytest.raises(DavidError, match="--depth-bits is `turned`, but can only be plain or rotated"):
        Folder(depth_bits="turned")
