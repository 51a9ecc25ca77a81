"""Anybody's own folder packs by options alone: patterns or a list, units, what is unknown, cameras; mistakes are
named."""

import csv
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people import exr_of

from david.pack import BadSample, DavidError, read, synth
from david.pack.check.verify import verify
from david.pack.look import view
from david.pack.raw import archive, jpeg
from david.pack.shards import manifest
from david.pack.sources import listing, photos, table
from david.pack.sources.folder import Folder
from david.pack.sources.listing import Row
from david.pack.work import build, plan, repair
from david.pack.work.forecast import forecast

SIZE = 48, 36
COUNT = 6
RGB, DEPTH = "photos/*.{jpg,png}", "depth/*.png"


def png(array: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)
    assert done
    return data.tobytes()


def jpg(array: np.ndarray, orientation: int = 1) -> bytes:
    """A JPEG that says how it was held, as cameras do."""
    done, data = cv2.imencode(".jpg", array[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    tags = struct.pack("<HHHLHHL", 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<L", 8) + tags
    whole = data.tobytes()
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG photos with 16-bit depth in millimetres, 0 where there is none; alpha, normals and cameras beside them."""
    folder = tmp_path_factory.mktemp("own")
    for kind in ("photos", "depth", "alpha", "normals", "cameras"):
        (folder / kind).mkdir()
    for number in range(COUNT):
        one = synth.render(5, number, "upper_body", *SIZE)
        name = f"IMG 00{number}"
        (folder / "photos" / f"{name}.jpg").write_bytes(jpg(one.rgb))
        mm = np.rint(np.nan_to_num(one.depth_m) * 1000).astype(np.uint16)
        (folder / "depth" / f"{name}.png").write_bytes(png(mm))
        (folder / "alpha" / f"{name}.png").write_bytes(png(one.alpha))
        opencv = np.where(one.depth_valid[..., None], one.normals * np.float32([1, -1, -1]), -1)
        (folder / "normals" / f"{name}.png").write_bytes(png(np.rint((opencv + 1) / 2 * 65535).astype(np.uint16)))
        assert one.intrinsics is not None
        (folder / "cameras" / f"{name}.txt").write_text(" ".join(map(str, one.intrinsics.ravel())))
    return folder


EVERYTHING = Folder(
    rgb=RGB,
    depth=DEPTH,
    alpha="alpha/*.png",
    normals="normals/*.png",
    camera="cameras/*.txt",
    depth_scale=0.001,
    normals_axes="x,-y,-z",
)
OPTIONS = plan.PackOptions(val_fraction=0, shard_samples=4)


def packed(raw: Path, shards: Path, source: Folder, **more: object) -> Path:
    build.build(raw, shards, OPTIONS, source=source, workers=1, **more)  # type: ignore[arg-type]
    return shards


@pytest.fixture(scope="module")
def shards(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(own, tmp_path_factory.mktemp("packed") / "shards", EVERYTHING)


def test_an_own_folder_comes_back_with_all_its_fields(own: Path, shards: Path, tmp_path: Path) -> None:
    dataset = manifest.load(shards)
    assert [(one.name, one.coding) for one in dataset.fields] == [
        ("rgb", "image"), ("alpha", "u8"), ("depth", "u16-linear"), ("normals", "octahedral-12"),
    ]  # fmt: skip
    assert verify(shards, deep=True, workers=1)[1] == []
    samples = {sample.key: sample for sample in read(shards)}
    assert sorted(samples) == [f"IMG_00{number}" for number in range(COUNT)]
    for number in range(COUNT):
        one, source = samples[f"IMG_00{number}"], synth.render(5, number, "upper_body", *SIZE)
        mm = cv2.imread(str(own / "depth" / f"IMG 00{number}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(np.rint(np.nan_to_num(one.depth_m) * 1000), mm)
        assert np.array_equal(one.depth_valid, mm > 0) and np.array_equal(one.alpha, source.alpha)
        both = one.normals_valid & source.normals_valid
        assert both.sum() > 0.95 * source.normals_valid.sum()
        assert (one.normals * source.normals).sum(-1)[both].min() > 0.9999
        assert source.intrinsics is not None and one.intrinsics == pytest.approx(source.intrinsics)
        assert np.abs(one.rgb.astype(int) - source.rgb).mean() < 6
    assert view.gallery(shards, tmp_path / "page.html", 0, 9, None) == COUNT


def test_images_alone_pack(own: Path, tmp_path: Path) -> None:
    folder = packed(own / "photos", tmp_path / "shards", Folder())
    assert manifest.load(folder).extensions == ("rgb.jpg", "json")
    assert [one.values for one in read(folder)] == [{}] * COUNT
    assert verify(folder, deep=True, workers=1)[1] == []
    assert view.gallery(folder, tmp_path / "page.html", 0, 9) == COUNT
    assert view.gallery(own / "photos", tmp_path / "raw.html", 0, 9, source="folder") == COUNT


LISTED = [
    {
        "rgb": f"photos/IMG 00{n}.jpg",
        "depth": f"depth/IMG 00{n}.png" if n % 3 else "",
        "split": "test" if n > 3 else "train",
    }
    for n in range(COUNT)
]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_list_names_files_and_splits_and_what_is_not_there(kind: str, own: Path, tmp_path: Path) -> None:
    path = tmp_path / f"list.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, LISTED[0])
            writer.writeheader()
            writer.writerows(LISTED)
    else:
        path.write_text("".join(json.dumps({k: v for k, v in row.items() if v}) + "\n" for row in LISTED))
    folder = packed(own, tmp_path / "shards", Folder(list=path, depth_scale=0.001))
    dataset = manifest.load(folder)
    assert {split: dataset.samples(split) for split in dataset.splits} == {"train": 4, "test": 2}
    assert sorted(one.stem for one in folder.glob("*.tar")) == ["test-000000", "train-000000"]
    samples = [sample for split in dataset.splits for sample in read(folder, split)]
    assert {one.key: bool(one.depth_valid.any()) for one in samples} == {
        f"photos-IMG_00{n}": bool(n % 3) for n in range(COUNT)
    }
    assert verify(folder, deep=True, workers=1)[1] == []
    assert "--source folder" in repair.advice(dataset) and f"--list list.{kind}" in repair.advice(dataset)


PHOTO = "photos/IMG 000.jpg"


def test_a_split_that_changes_in_the_list_is_refused(own: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    source = Folder(list=path)
    path.write_text("rgb,split\n" + "".join(f"photos/IMG 00{n}.jpg,train\n" for n in range(COUNT)))
    assert build.build(own, tmp_path / "shards", OPTIONS, source=source, part=build.Part(1, 2), workers=1) is None
    path.write_text(path.read_text().replace("002.jpg,train", "002.jpg,test"))
    with pytest.raises(DavidError, match=r"1 sample changed \(photos-IMG_002\)"):
        packed(own, tmp_path / "shards", source)


WRONG_LISTS = {
    "no rgb column": ("depth\nd.png\n", "line 1: the columns are depth; expected rgb"),
    "an unknown column": ("rgb,deph\na.jpg,b.png\n", "line 1: the columns are rgb, deph; expected rgb"),
    "a file that is not there": (f"rgb\n{PHOTO}\nnowhere.jpg\n", "line 3: rgb `nowhere.jpg` is not there"),
    "a path that leads out": ("rgb\n../x.jpg\n", "line 2: rgb is `../x.jpg`, expected a path within"),
    "an absolute path": ("rgb\n/etc/passwd\n", "line 2: rgb is `/etc/passwd`, expected a path within"),
    "a cell too many": ("rgb,split\nphotos/IMG 000.jpg,train,x\n", "line 2: 3 cells, the header has 2"),
    "no rgb": ("rgb,split\n,train\n", "line 2: names no rgb"),
    "a split that is none": ("rgb,split\nphotos/IMG 000.jpg,My Split\n", "line 2: the split is `My Split`"),
    "twice the same": (f"rgb\n{PHOTO}\n{PHOTO}\n", f"line 3: {PHOTO} is there twice, before at .*line 2"),
    "depth that is no depth": (f"rgb,depth\n{PHOTO},{PHOTO}\n", "line 2: depth .* ending in .png or .exr or .npy"),
    "nothing": ("", "an empty list"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG_LISTS)
def test_a_wrong_list_is_named_by_line_file_and_what_was_expected(fault: str, own: Path, tmp_path: Path) -> None:
    text, told = WRONG_LISTS[fault]
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DavidError, match=told):
        Folder(list=tmp_path / "list.csv", depth_scale=0.001).scan(own)


def test_bad_rows_are_set_aside_where_that_is_asked_for(own: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("rgb\nphotos/IMG 000.jpg\nphotos/nowhere.jpg\nphotos/IMG 001.jpg\n")
    source = Folder(list=tmp_path / "list.csv")
    packed(own, tmp_path / "shards", source, bad=build.BadPolicy(True, 0.5))
    (aside,) = manifest.load(tmp_path / "shards").quarantined
    assert aside["where"].endswith("list.csv, line 3") and "not there" in aside["reason"]


WRONG_OPTIONS = {
    "no scale": (lambda: Folder(rgb=RGB, depth=DEPTH), "needs --depth-scale, metres a step: 0.001 for mm"),
    "no rgb": (lambda: Folder(depth=DEPTH), "--depth needs --rgb beside it"),
    "a list and patterns": (lambda: Folder(list=Path("x"), rgb=RGB), "--list and --rgb both say"),
    "a pattern that fits nothing": (lambda: Folder(rgb=RGB, depth="deep/*.png"), "no file there that fits"),
    "a pattern without a star": (lambda: Folder(rgb="photos/a.jpg"), r"has no \*"),
    "axes": (lambda: Folder(normals_axes="x,y,y"), "--normals-axes is `x,y,y`"),
    "a scale of 0": (lambda: Folder(depth_scale=0.0), "--depth-scale is 0.0"),
    "a sky of nan": (lambda: Folder(depth_sky=float("nan")), "--depth-sky is nan"),
    "invalid words": (lambda: Folder(depth_invalid="none"), "numbers apart by commas"),
    "a camera that is none": (lambda: Folder(intrinsics="1,2,3"), "no 3 x 3 intrinsics"),
    "rgb without depth": (lambda: Folder(rgb="*/*.{jpg,png}", depth="depth/*x.png", depth_scale=1), "no file there"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG_OPTIONS)
def test_wrong_options_are_named(fault: str, own: Path) -> None:
    make, told = WRONG_OPTIONS[fault]
    with pytest.raises(DavidError, match=told):
        make().scan(own)


def test_an_image_without_its_depth_is_named(own: Path, tmp_path: Path) -> None:
    for kind in ("photos", "depth"):
        (tmp_path / kind).symlink_to(own / kind)
    (tmp_path / "photos2").mkdir()
    (tmp_path / "photos2" / "IMG 009.jpg").write_bytes((own / "photos" / "IMG 000.jpg").read_bytes())
    with pytest.raises(BadSample, match="photos2/IMG 009.jpg: has no depth beside it; expected one that fits depth"):
        Folder(rgb="photos{,2}/*.jpg", depth=DEPTH, depth_scale=0.001).scan(tmp_path)


def entry_of(folder: Path, source: Folder) -> tuple[str, archive.Entry]:
    (found,) = source.scan(folder).items()
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright_as_their_exif_says(orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:12, :20], upright[12:, 30:] = (255, 0, 0), (0, 255, 0)
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    (tmp_path / "a.jpg").write_bytes(jpg(np.ascontiguousarray(jpeg.upright(upright, back)), orientation))
    found = Folder().load(*entry_of(tmp_path, Folder())).rgb
    assert found.shape == upright.shape and np.abs(found.astype(int) - upright).mean() < 3


def test_the_kinds_of_depth_files_mean_the_same_metres(tmp_path: Path) -> None:
    metres = np.linspace(0.5, 60, 12 * 16, dtype=np.float32).reshape(12, 16)
    metres[0, 0], metres[0, 1] = np.nan, np.inf
    sky, known = np.isposinf(metres), np.isfinite(metres)
    steps = np.where(known, np.rint(np.where(known, metres, 0) * 100), np.where(sky, 9999, 0)).astype(np.uint16)
    black = np.zeros_like(metres)
    files = {
        "a.png": (png(steps), {"depth_scale": 0.01, "depth_sky": 9999.0}),
        "b.exr": (exr_of({"Z": metres}), {}),
        "c.exr": (exr_of({"Y": metres.astype(np.float16)}), {}),
        "e.exr": (exr_of({"Z": metres, "R": black, "G": black, "B": black}), {}),
    }
    np.save(tmp_path / "d.npy", np.where(np.isnan(metres), -1, metres)[..., None])
    files["d.npy"] = ((tmp_path / "d.npy").read_bytes(), {"depth_invalid": "-1,-2"})
    for name, (data, how) in files.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / f"depth-{name}").write_bytes(data)
        (folder / f"rgb-{name[0]}.png").write_bytes(png(np.zeros((12, 16, 3), np.uint8)))
        source = Folder(rgb="rgb-*.png", depth="depth-*.{png,exr,npy}", **how)
        one = source.load(*entry_of(folder, source))
        assert np.array_equal(one.depth_valid, known), name
        assert np.array_equal(np.isposinf(one.depth_m), sky), name
        np.testing.assert_allclose(one.depth_m[known], metres[known], rtol=1e-3, atol=0.006)


def test_8_bit_depth_normals_and_intrinsics_of_all(tmp_path: Path) -> None:
    steps = np.tile(np.arange(1, 17, dtype=np.uint8), (12, 1))
    (tmp_path / "d_1.png").write_bytes(png(steps))
    (tmp_path / "i_1.png").write_bytes(png(np.zeros((12, 16, 3), np.uint8)))
    up = np.zeros((12, 16, 3), np.float32)
    up[..., 1] = 1
    up[0] = 0
    (tmp_path / "n_1.png").write_bytes(
        png(np.where(up.any(-1, keepdims=True), np.rint((up + 1) * 127.5), 0).astype(np.uint8))
    )
    source = Folder(rgb="i_*.png", depth="d_*.png", normals="n_*.png", depth_scale=0.25, intrinsics="20,21,8,6")
    one = source.load(*entry_of(tmp_path, source))
    assert np.array_equal(one.depth_m, steps * np.float32(0.25))
    assert np.array_equal(one.normals_valid, up.any(-1))
    assert (one.normals[one.normals_valid] @ [0, 1, 0]).min() > 0.9999
    assert one.intrinsics is not None and one.intrinsics.tolist() == [[20, 0, 8], [0, 21, 6], [0, 0, 1]]


def test_what_can_not_be_decoded_is_named(own: Path, tmp_path: Path) -> None:
    photo, depth = own / "photos" / "IMG 000.jpg", own / "depth" / "IMG 000.png"
    source = Folder(rgb="i.{jpg,png}*", depth="d.png*", depth_scale=0.001)
    small, colour = jpg(np.zeros((30, 30, 3), np.uint8)), png(np.zeros((48, 36, 3), np.uint8))
    cases = {
        "a cut JPEG": (photo.read_bytes()[:-600], depth.read_bytes(), "a JPEG that can't be decoded"),
        "another size": (small, depth.read_bytes(), "depth is 48 rows x 36 columns, rgb 30 x 30"),
        "a depth in colour": (photo.read_bytes(), colour, "expected a grey PNG of whole steps"),
        "the largest step": (photo.read_bytes(), png(np.full((48, 36), 65535, np.uint16)), "holds the step 65535"),
        "no picture": (b"hello", depth.read_bytes(), "no PNG or JPEG, the pictures that can be read: .*b'hello'"),
    }  # fmt: skip
    for name, (image, steps, told) in cases.items():
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        (folder / "i.jpg").write_bytes(image)
        (folder / "d.png").write_bytes(steps)
        with pytest.raises(BadSample, match=told):
            source.load(*entry_of(folder, source))
    with pytest.raises(BadSample, match="at most 100 pixels are read"):
        source.load(*entry_of(tmp_path / "a-cut-JPEG", source), 100)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("depth/a.png", "depth"),
        ("set/Scene-Depth/a.png", "depth"),
        ("alpha/a.jpg", "alpha"),
        ("normals/a.png", "normals"),
        ("rgb/a_depth.png", "depth"),
        ("a-normal.png", "normals"),
    ],
)
def test_without_patterns_what_is_named_as_another_kind_is_no_photograph(name: str, kind: str, tmp_path: Path) -> None:
    for one in ("rgb/a.jpg", name):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).write_bytes(jpg(np.zeros((8, 8, 3), np.uint8)))
    with pytest.raises(DavidError, match=f"{name} would be packed as photographs, .* are {kind} .*--depth 'depth/"):
        Folder().scan(tmp_path)
    assert len(Folder(rgb="**.{png,jpg,jpeg}").scan(tmp_path)) == 2  # as the refusal says


def test_names_of_photographs_are_left_in_peace() -> None:
    photos.require(
        "raw", ["depth.png", "alpha.jpg", "depths of the sea/a.png", "normal/3.png", "alpha_centauri/alpha 7.jpg"]
    )


def test_a_grey_png_of_16_bits_is_a_photograph_only_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((8, 8), 1500, np.uint16)))
    with pytest.raises(BadSample, match="grey PNG of 16 bits, as depth is kept, and no photograph; say .*--depth"):
        Folder().load(*entry_of(tmp_path, Folder()))
    said = Folder(rgb="*.png")
    assert said.load(*entry_of(tmp_path, said)).rgb.shape == (8, 8, 3)
    (tmp_path / "a.png").write_bytes(png(np.full((8, 8), 150, np.uint8)))
    assert Folder().load(*entry_of(tmp_path, Folder())).rgb.shape == (8, 8, 3)


@pytest.mark.parametrize(("scale", "told"), [(1.0, "depth is 2128 m "), (3e-6, "depth is 0.006384 m ")])
def test_a_depth_that_is_hardly_one_is_a_note_that_names_the_option(
    scale: float, told: str, own: Path, tmp_path: Path
) -> None:
    source = Folder(rgb=RGB, depth=DEPTH, depth_scale=scale)
    said: list[str] = []
    packed(own, tmp_path / "shards", replace(source, depth_scale=0.001), say=said.append)
    assert not [text for text in said if "depth" in text]
    packed(own, tmp_path / "odd", source, say=said.append)
    assert re.match(f"note: {told}.*: is --depth-scale, metres a step, right", said[-1]), said


def test_a_depth_that_cannot_be_names_the_option_first(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="^the raw data: depth is [0-9.e+]+ m .*: is --depth-scale,") as caught:
        packed(own, tmp_path / "shards", Folder(rgb=RGB, depth=DEPTH, depth_scale=1000.0))
    assert "nothing was packed: change --depth-scale, or convert the raw data" in str(caught.value)


def test_names_that_would_be_one_key_stay_apart(tmp_path: Path) -> None:
    names = ["a b.jpg", "a_b.jpg", "ü.jpg", "x" * 90 + ".jpg", "x" * 91 + ".jpg", "ok.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(jpg(np.zeros((8, 8, 3), np.uint8)))
    found = Folder().scan(tmp_path)
    assert len(found) == len(names) and "ok" in found
    assert all(len(key) <= 60 and key.isascii() and not set(" ./") & set(key) for key in found)
    assert sorted(found) == sorted(Folder().scan(tmp_path))


def test_a_pack_goes_on_and_refuses_files_and_options_that_changed(own: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for kind in ("photos", "depth"):
        (raw / kind).mkdir(parents=True)
        for path in (own / kind).iterdir():
            (raw / kind / path.name).write_bytes(path.read_bytes())
    source = Folder(rgb=RGB, depth=DEPTH, depth_scale=0.001)
    assert build.build(raw, tmp_path / "shards", OPTIONS, source=source, part=build.Part(1, 2), workers=1) is None
    with pytest.raises(DavidError, match="depth_scale is 0.001 there and 0.002 now"):
        packed(raw, tmp_path / "shards", Folder(rgb=RGB, depth=DEPTH, depth_scale=0.002))
    with pytest.raises(DavidError, match="source is folder there and synthhuman now|no SynthHuman samples there"):
        build.build(raw, tmp_path / "shards", OPTIONS, workers=1)
    before = (raw / "depth" / "IMG 003.png").read_bytes()
    (raw / "depth" / "IMG 003.png").write_bytes(png(np.full(SIZE, 900, np.uint16)))
    with pytest.raises(DavidError, match=r"1 sample changed \(IMG_003\)"):
        packed(raw, tmp_path / "shards", source)
    (raw / "depth" / "IMG 003.png").write_bytes(before)
    told = forecast(raw, tmp_path / "shards", OPTIONS, source=source, bad=build.BadPolicy(), part=build.Part())
    assert told.samples == COUNT
    packed(raw, tmp_path / "shards", source)
    packed(raw, tmp_path / "whole", source)
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "shards" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_source_is_guessed_by_what_only_it_has(own: Path) -> None:
    assert table.chosen(own, None, {"depth_scale": 0.001}) == Folder(depth_scale=0.001)
    assert table.chosen(own).name == "synthhuman"
    with pytest.raises(DavidError, match="--source is `coco`, but can only be synthhuman, folder"):
        table.chosen(own, "coco")
    with pytest.raises(
        DavidError, match="--depth-scale is an option of --source folder or rendered, not of synthhuman"
    ):
        table.chosen(own, "synthhuman", {"depth_scale": 1.0})


@pytest.mark.parametrize(
    ("pattern", "name", "stars"),
    [
        ("rgb/*.jpg", "rgb/a b.JPG", ("a b",)),
        ("rgb/*.jpg", "rgb/x/a.jpg", None),
        ("**/rgb/*.png", "s1/d/rgb/7.png", ("s1/d/", "7")),
        ("**/rgb/*.png", "rgb/7.png", ("", "7")),
        ("**.{png,jpg}", "a/b.jpg", ("a/b",)),
        ("f(1)*.png", "f(1)x.png", ("x",)),
    ],
)
def test_patterns_match_as_their_text_says(pattern: str, name: str, stars: tuple[str, ...] | None) -> None:
    assert list(listing.matches([name], pattern)) == ([] if stars is None else [(stars, name)])


def test_a_list_of_json_names_a_line_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text('{"rgb": "a.jpg", "depth": null}\n\n[1]\n{"rgb": ["x"]}\n')
    rows = listing.rows(tmp_path / "list.jsonl")
    first, second, third = rows
    assert first == Row(f"{tmp_path}/list.jsonl, line 1", {"rgb": "a.jpg"}, None, None)
    assert isinstance(second, BadSample) and second.where.endswith("line 3")
    assert isinstance(third, BadSample) and third.where.endswith("line 4")


@settings(deadline=None, max_examples=100)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\xff\xd8\xff\xe1\x00\x40Exif\0\0II*\0", b"\xff\xd8\xff\xe1\x00\x40Exif\0\0MM\0*"]),
)
def test_any_bytes_tell_an_orientation_or_none(data: bytes, head: bytes) -> None:
    assert 1 <= jpeg.orientation(head + data) <= 8


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["csv", "jsonl"]), st.one_of(st.binary(max_size=80), st.text(max_size=80).map(str.encode)))
def test_any_list_gives_rows_or_names_what_is_wrong(tmp_path: Path, kind: str, data: bytes) -> None:
    path = tmp_path / f"list.{kind}"
    for head in (b"", b"rgb,split\n", b'{"rgb": '):
        path.write_bytes(head + data)
        try:
            rows = listing.rows(path)
            for row in rows:
                assert isinstance(row, Row | BadSample)
        except DavidError as error:
            assert str(path) in str(error)
