"""Benchmarks as sources: their published layouts are read whole, pack like any other, and what lacks is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from layouts import COUNT, SIZE, cutouts, number_file, p3m, people, picture, ppm, rendered, trimap

from david.pack import DavidError, Sample, read
from david.pack.check.verify import verify
from david.pack.pack_command import pack
from david.pack.shards import manifest
from david.pack.sources import table
from david.pack.sources.source import Source
from david.pack.work import build, plan


def loaded(source: Source, raw: Path) -> list[Sample]:
    return [source.load(key, entry) for key, entry in source.scan(raw).items()]


@pytest.mark.parametrize(
    ("name", "write", "fields"),
    [
        ("p3m-500-np", p3m, ["rgb", "alpha", "trimap"]),
        ("p3m-500-p", lambda folder: p3m(folder, "blurred_image"), ["rgb", "alpha", "trimap"]),
        ("ppm-100", ppm, ["rgb", "alpha"]),
        ("photomatte85", cutouts, ["rgb", "alpha"]),
        ("rendered", rendered, ["rgb", "depth", "normals"]),
    ],
)
def test_a_benchmark_packs_and_comes_back_as_its_files_say(name, write, fields, tmp_path: Path) -> None:
    raw, shards = write(tmp_path / "raw"), tmp_path / "shards"
    source = table.chosen(raw, name)
    if name != "photomatte85":
        assert table.chosen(raw).name == name  # guessed
    build.build(raw, shards, plan.PackOptions(image="webp"), source=source, workers=1)
    dataset = manifest.load(shards)
    assert [one.name for one in dataset.fields] == fields and list(dataset.splits) == ["test"]
    assert verify(shards, deep=True, workers=1)[1] == []
    packed, there = {one.key: one for one in read(shards, "test")}, loaded(source, raw)
    assert len(packed) == len(there) == COUNT
    for one in there:
        back = packed[one.key]
        assert np.array_equal(back.rgb, one.rgb)
        for field in fields[1:]:
            assert np.array_equal(back.valid(field), one.valid(field))
        for field in {"alpha", "trimap"} & set(fields):
            assert np.array_equal(back.value(field), one.value(field))
        if "depth" in fields:
            valid = one.depth_valid
            assert np.abs(back.depth_m[valid] - one.depth_m[valid]).max() < 1e-3
            assert (back.normals * one.normals).sum(-1)[one.normals_valid].min() > 0.9999


def test_alpha_and_trimap_are_those_of_the_files_and_a_folder_above_will_do(tmp_path: Path) -> None:
    source = table.chosen(p3m(tmp_path / "P3M-500-NP"), "p3m-500-np")
    for one, true in zip(loaded(source, tmp_path), people(), strict=True):
        assert np.array_equal(one.alpha, true.alpha)
        assert np.array_equal(one.value("trimap"), trimap(true.alpha))
        assert np.abs(one.rgb.astype(int) - true.rgb).mean() < 8  # a JPEG
        assert set(one.meta["source"]["members"]) == {
            *(f"{folder}/{one.key}.png" for folder in ("mask", "trimap")),
            f"original_image/{one.key}.jpg",
        }


def test_a_cutout_lies_on_grey(tmp_path: Path) -> None:
    source = table.chosen(cutouts(tmp_path), "photomatte85")
    for one, true in zip(loaded(source, tmp_path), people(), strict=True):
        for row, column in np.ndindex(SIZE):
            share = int(true.alpha[row, column]) / 255
            for channel in range(3):
                expected = int(true.rgb[row, column, channel]) * share + 128 * (1 - share)
                assert abs(int(one.rgb[row, column, channel]) - expected) <= 0.51
    picture(tmp_path / "00.png", people()[0].rgb)
    with pytest.raises(DavidError, match="00.png: expected a cut-out, a PNG of RGB with alpha, found RGB"):
        loaded(source, tmp_path)


@pytest.mark.parametrize(("depth", "normal"), [("exr", "exr"), ("npy", "npy"), ("png", "png")])
def test_every_kind_of_file_means_the_same_geometry(depth: str, normal: str, tmp_path: Path) -> None:
    raw = rendered(tmp_path, depth=depth, normal=normal)
    source = table.chosen(raw, "rendered", {"depth_scale": 0.001 if depth == "png" else None})
    assert list(source.scan(raw)) == ["pair0-000000", "pair0-000002", "pair1-000001"]
    true = {f"pair{number % 2}-{number:06}": one for number, one in enumerate(people())}
    for one in loaded(source, raw):
        expected = true[one.key]
        assert np.array_equal(one.depth_valid, expected.depth_valid)
        valid = one.depth_valid
        assert np.abs(one.depth_m[valid] - expected.depth_m[valid]).max() < (6e-4 if depth == "png" else 1e-6)
        both = one.normals_valid & expected.normals_valid
        assert both.sum() > 0.95 * valid.sum()
        assert (one.normals * expected.normals).sum(-1)[both].min() > 0.9999
        assert np.allclose(np.linalg.norm(one.normals[one.normals_valid], axis=-1), 1, atol=1e-5)


def test_what_means_nothing_within_the_person_is_no_truth(tmp_path: Path) -> None:
    raw = rendered(tmp_path, people(1))
    normal = np.load(tmp_path / "normal/pair0/000000.npy")
    depth = np.where(people(1)[0].depth_valid, people(1)[0].depth_m, 0)
    rows, columns = np.nonzero(people(1)[0].depth_valid)
    for place, value in enumerate((np.nan, np.inf, 0, -1, 65504)):
        depth[rows[place], columns[place]] = value
    normal[rows[5], columns[5]] = 0
    normal[rows[6], columns[6]] = np.nan
    normal[rows[7], columns[7]] = (0, 0, 9)  # any length is a direction
    number_file(tmp_path / "depth/pair0/000000.exr", depth)
    number_file(tmp_path / "normal/pair0/000000.npy", normal)
    (one,) = loaded(table.chosen(raw, "rendered", {"depth_invalid": "65504"}), raw)
    assert not one.depth_valid[rows[:5], columns[:5]].any() and one.depth_valid[rows[5:], columns[5:]].all()
    assert one.normals_valid[rows[5:8], columns[5:8]].tolist() == [False, False, True]
    assert one.normals[rows[7], columns[7]].tolist() == [0, 0, 1]


def test_masks_of_0_and_1_and_of_0_and_255_are_the_same(tmp_path: Path) -> None:
    raw = rendered(tmp_path, people(1))
    (first,) = loaded(table.chosen(raw, "rendered"), raw)
    picture(tmp_path / "mask/pair0/000000.png", people(1)[0].depth_valid.astype(np.uint8))
    (second,) = loaded(table.chosen(raw, "rendered"), raw)
    assert np.array_equal(first.depth_valid, second.depth_valid) and first.depth_valid.any()
    picture(tmp_path / "mask/pair0/000000.png", np.full(SIZE, 100, np.uint8))
    with pytest.raises(DavidError, match="a mask without a person: its largest value is 100; expected 0 and 255, or"):
        loaded(table.chosen(raw, "rendered"), raw)


def test_normals_or_depth_alone_will_do_but_not_neither(tmp_path: Path) -> None:
    raw = rendered(tmp_path, people(1))
    shutil.rmtree(tmp_path / "depth")
    source = table.chosen(raw, "rendered")
    assert [one.name for one in source.fields(source.scan(raw))] == ["rgb", "normals"]
    shutil.rmtree(tmp_path / "normal")
    with pytest.raises(
        DavidError, match="has no folder `depth`; rendered has image, mask, and depth or normal or both"
    ):
        source.scan(raw)


WRONG = {
    "no root": ("gone", "gone: no folder there; expected that of p3m-500-np, with original_image, mask, trimap in it"),
    "no mask folder": ("", "has no folder `mask`; p3m-500-np has original_image, mask, trimap"),
    "no images": ("", "original_image: no image there; expected files ending in .png or .jpg or .jpeg"),
    "no mask": ("", "original_image/p_0001.jpg: has no alpha beside it; expected mask/p_0001 with .png or"),
    "no image": ("", "mask/p_0001.png: has no image beside it; expected original_image/p_0001 with"),
    "twice": ("", "original_image/p_0001.png: is there twice, also as original_image/p_0001.jpg"),
    "sizes": ("", "mask/p_0001.png: alpha is 5 rows x 6 columns, the image 48 x 36"),
    "no band": ("", "trimap/p_0001.png: a trimap without an unknown pixel, 128; it holds 0, 255"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_root_is_one_sentence(fault: str, tmp_path: Path) -> None:
    folder, said = WRONG[fault]
    raw = p3m(tmp_path)
    if fault == "no mask folder":
        shutil.rmtree(raw / "mask")
    elif fault == "no images":
        for path in (raw / "original_image").iterdir():
            path.unlink()
    elif fault == "no mask":
        (raw / "mask/p_0001.png").unlink()
    elif fault == "no image":
        (raw / "original_image/p_0001.jpg").unlink()
    elif fault == "twice":
        picture(raw / "original_image/p_0001.png", people(1)[0].rgb)
    elif fault == "sizes":
        picture(raw / "mask/p_0001.png", np.zeros((5, 6), np.uint8))
    elif fault == "no band":
        hard = np.zeros(SIZE, np.uint8)
        hard[3:] = 255
        picture(raw / "trimap/p_0001.png", hard)
    with pytest.raises(DavidError) as refused:
        loaded(table.chosen(raw, "p3m-500-np"), raw / folder)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_without_partner_is_set_aside_where_that_is_asked_for(tmp_path: Path) -> None:
    raw = p3m(tmp_path)
    (raw / "mask/p_0001.png").unlink()
    (raw / "mask/._p_0002.png").write_text("what some systems leave beside a file")
    bad = {}
    assert list(table.chosen(raw, "p3m-500-np").scan(raw, bad)) == ["p_0000", "p_0002"]
    assert len(bad) == 1


def test_the_help_names_every_source() -> None:
    assert all(name in (pack.__doc__ or "") for name in table.SOURCES)
