"""A packed set gives back what was packed, and anyone's reader can read it."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from people import cm, made

from david.pack import BadSample, DavidError, Sample, read
from david.pack.raw import archive
from david.pack.shards import codecs, index, manifest, shard
from david.pack.sources import synthhuman
from david.pack.work import build, plan


def all_samples(folder: Path) -> list[Sample]:
    dataset = manifest.load(folder)
    return [sample for split, shards in dataset.splits.items() if shards for sample in read(folder, split)]


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(np.float64) - b).mean()))


def angle_degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


@pytest.mark.parametrize("data", ["raw", "samples_dir"])
@pytest.mark.parametrize(("image", "compression"), [("jpeg", "lz4"), ("webp", "zstd")])
def test_what_was_packed_comes_back(
    data: str, image: str, compression: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = {sample.key: sample for sample in synthhuman.samples(request.getfixturevalue(data))}
    options = plan.PackOptions(image=image, compression=compression, val_fraction=0)
    build.build(request.getfixturevalue(data), tmp_path / "shards", options, workers=1)
    packed = all_samples(tmp_path / "shards")
    assert sorted(sample.key for sample in packed) == sorted(source)
    for sample in packed:
        original = source[sample.key]
        valid = original.depth_valid
        assert np.array_equal(sample.depth_valid, valid)
        assert np.array_equal(sample.normals_valid, valid)
        assert np.array_equal(sample.alpha, original.alpha)
        depth_error = np.abs(cm(sample) - cm(original))[valid].max()
        half_range = np.ptp(cm(original)[valid]) / 2
        assert depth_error <= max(0.005 * (data == "samples_dir"), half_range * 2**-12 * 1.01)
        assert depth_error < 0.005 or original.meta["scenario"] != "face"
        assert angle_degrees(sample.normals, original.normals)[valid].max() < 0.06
        assert np.isnan(cm(sample)[~valid]).all()
        if image == "webp":
            assert np.array_equal(sample.rgb, original.rgb)
        else:
            assert psnr_db(sample.rgb, original.rgb) >= (45 if data == "samples_dir" else 38)
        assert (sample.intrinsics is None) == (original.intrinsics is None)
        if sample.intrinsics is not None:
            assert np.array_equal(sample.intrinsics, original.intrinsics)
        assert sample.meta == original.meta


def test_splits_are_disjoint_whole_and_unmoved_by_the_seed(raw: Path, shards: Path, tmp_path: Path) -> None:
    dataset = manifest.load(shards)
    keys = {split: [sample.key for sample in read(shards, split)] for split in ("train", "val")}
    assert sorted(keys["train"] + keys["val"]) == sorted(synthhuman.scan(raw))
    assert [shard.samples for shard in dataset.split("train")][:-1] == [7] * (len(dataset.split("train")) - 1)
    found = synthhuman.SynthHuman().scan(raw)
    other = plan.plan(found, plan.PackOptions(val_fraction=0.25, shard_samples=7, seed=5)).shards
    by_split = {"train": [], "val": []}
    for one in other:
        by_split[one.split] += [key for key, _ in one.samples]
    assert {split: sorted(k) for split, k in by_split.items()} == {split: sorted(k) for split, k in keys.items()}
    assert by_split["train"] != keys["train"]
    stored = plan.plan(found, plan.PackOptions(val_fraction=0, order="stored")).shards
    assert [key for key, _ in stored[0].samples] == sorted(synthhuman.scan(raw))


def test_more_workers_give_the_same_bytes(raw: Path, shards: Path, tmp_path: Path) -> None:
    options = plan.PackOptions(val_fraction=0.25, shard_samples=7)
    build.build(raw, tmp_path / "shards", options, workers=2)
    for path in sorted(shards.iterdir()):
        assert (tmp_path / "shards" / path.name).read_bytes() == path.read_bytes(), path.name


def test_loose_files_and_one_zip_pack_like_the_folder_of_zips(raw: Path, tmp_path: Path) -> None:
    first, second = sorted(raw.glob("*.zip"))
    mixed = tmp_path / "mixed"
    (mixed / "inner").mkdir(parents=True)
    for member in archive.members(second):
        (mixed / "inner" / Path(member.name).name).write_bytes(archive.read(member))
    (mixed / first.name).symlink_to(first)
    assert list(synthhuman.scan(mixed)) == list(synthhuman.scan(raw))
    assert list(synthhuman.scan(first)) + list(synthhuman.scan(second)) == list(synthhuman.scan(raw))
    loose, zipped = synthhuman.scan(mixed), synthhuman.scan(raw)
    for key in zipped:
        ours, theirs = synthhuman.load(key, loose[key]), synthhuman.load(key, zipped[key])
        assert np.array_equal(ours.rgb, theirs.rgb)
        assert np.array_equal(ours.normals, theirs.normals)


def test_gnu_tar_lists_and_extracts_every_member(shards: Path, tmp_path: Path) -> None:
    dataset = manifest.load(shards)
    for one in dataset.split("train"):
        path = shards / f"{one.name}.tar"
        subprocess.run(["tar", "-xf", path, "-C", tmp_path], check=True, capture_output=True)
        for line in path.with_suffix(".idx").read_text().splitlines()[1:]:
            words = line.split()
            for _, offset, size, name in zip(*[iter(words)] * 4, strict=True):
                data = path.read_bytes()[int(offset) : int(offset) + int(size)]
                assert (tmp_path / name).read_bytes() == data


def test_plain_webdataset_reads_the_shards(shards: Path) -> None:
    import webdataset

    dataset = manifest.load(shards)
    urls = [str(shards / f"{shard.name}.tar") for shard in dataset.split("train")]
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    ours = list(read(shards, "train"))
    assert [sample["__key__"] for sample in found] == [sample.key for sample in ours]
    for theirs, sample in zip(found, ours, strict=True):
        assert set(dataset.extensions) <= set(theirs)
        assert json.loads(theirs["json"])["id"] == sample.key


def test_dali_reads_the_shards_with_our_index(shards: Path) -> None:
    fn = pytest.importorskip("nvidia.dali.fn")
    from nvidia.dali import pipeline_def

    dataset = manifest.load(shards)
    names = [shards / f"{shard.name}.tar" for shard in dataset.split("train")]

    @pipeline_def(batch_size=4, num_threads=1, device_id=None)
    def reader():
        return tuple(
            fn.readers.webdataset(
                paths=[str(path) for path in names],
                index_paths=[str(path.with_suffix(".idx")) for path in names],
                ext=list(dataset.extensions),
            )
        )

    pipe = reader()
    pipe.build()
    keys: list[str] = []
    while len(keys) < dataset.samples("train"):
        *_, about = pipe.run()
        keys += [json.loads(bytes(about.at(i)))["id"] for i in range(4)]
    expected = [sample.key for sample in read(shards, "train")]
    assert keys[: len(expected)] == expected


def test_bad_folders_files_and_members_are_named(raw: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DavidError, match="no folder or zip"):
        build.build(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DavidError, match="no SynthHuman samples"):
        build.build(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DavidError, match="no shards there"):
        manifest.load(tmp_path)
    with pytest.raises(DavidError, match="shard_samples is 7 there and 1000 now"):
        build.build(raw, shards)
    with pytest.raises(DavidError, match="no samples in a split `test`; there is train, val"):
        read(shards, "test")
    whole = next(raw.glob("*.zip"))
    cut = tmp_path / whole.name
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(DavidError, match="no whole zip .* cut short"):
        build.build(cut, tmp_path / "out")


def test_a_missing_a_doubled_and_a_misfit_member_are_named(raw: Path, tmp_path: Path) -> None:
    for member in archive.members(next(raw.glob("*.zip"))):
        if "0000000" in member.name or "0000001" in member.name:
            (tmp_path / Path(member.name).name).write_bytes(archive.read(member))
    (tmp_path / "depth_0000000.exr").rename(tmp_path / "depth.exr")
    with pytest.raises(BadSample, match="sample 0000000: depth missing"):
        synthhuman.scan(tmp_path)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "depth_0000000.exr").write_bytes((tmp_path / "normal_0000000.exr").read_bytes())
    with pytest.raises(BadSample, match=r"expected float32 channels Y, found .*float32"):
        list(synthhuman.samples(tmp_path))
    (tmp_path / "more" / "rgb_0000000.png").write_bytes(b"")
    with pytest.raises(BadSample, match="rgb is there twice"):
        synthhuman.scan(tmp_path)


def test_an_index_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.idx"
    for text in ("", "v1.2 2\n", "v1.2 1\nrgb.jpg 512 3 a.rgb.jpg\n", "v1.1 1\njson 512 3 a.json\n"):
        path.write_text(text)
        with pytest.raises(DavidError, match="no index"):
            index.entries(path, ("json",))


@settings(deadline=None, max_examples=30)
@given(hnp.arrays(bool, (9, 14)), hnp.arrays(bool, (9, 14)), st.sampled_from(["lz4", "zstd"]))
def test_both_masks_come_back_exactly(valid: np.ndarray, known: np.ndarray, compression: str) -> None:
    valid[0, 0], normals_valid = True, valid & known
    rgb, normals = np.zeros((9, 14, 3), np.uint8), np.tile(np.float32([0, 0.6, 0.8]), (9, 14, 1))
    depth_cm = np.where(valid, np.float32(100), np.float32(np.nan))
    sample = made("a", rgb, rgb[..., 0], depth_cm, normals, valid, normals_valid, None)
    back = shard.decode(shard.encode(sample, "jpeg", compression), compression)
    assert np.array_equal(back.depth_valid, valid)
    assert np.array_equal(back.normals_valid, normals_valid)


def test_normals_of_sets_packed_before_they_had_a_mask_are_valid_where_depth_is() -> None:
    valid = np.arange(12).reshape(3, 4) % 3 > 0
    rgb, normals = np.zeros((3, 4, 3), np.uint8), np.tile(np.float32([0, 0, 1]), (3, 4, 1))
    sample = made("a", rgb, rgb[..., 0], np.where(valid, np.float32(9), np.nan), normals, valid, valid, None)
    members = shard.encode(sample, "jpeg", "lz4")
    centre = np.broadcast_to(np.uint8([0x77, 0xFF, 0xFF])[:, None, None], (3, 3, 4))  # 2047, 2047 everywhere
    members[3] = codecs.encode_planes(centre, "lz4")
    back = shard.decode(members, "lz4")
    assert np.array_equal(back.depth_valid, valid)
    assert np.array_equal(back.normals_valid, valid)
    assert (back.normals == [0, 0, 1]).all()
