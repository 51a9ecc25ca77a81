"""Sets of version 1, packed before fields had a table, read as ever. `data/version-1.zip` is one of commit 0e427f5."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from david.pack import read
from david.pack.check.report import Report
from david.pack.check.verify import verify
from david.pack.look import report_page, view
from david.pack.shards import manifest, shard
from david.pack.shards.schema import FIELDS_V1
from david.pack.sources import synthhuman
from david.pack.work import build, plan, record

KNOWN = {  # key: valid pixels, nearest and farthest metres, mean RGB, sum of alpha, mean normal
    "0000000": (1608, 1.0016953, 1.2464617, 112.4, 411_609, (-0.2134, 0.11192, 0.69743)),
    "0000001": (1518, 0.8865427, 1.0457413, 73.951, 385_912, (-0.03145, 0.14296, 0.78816)),
    "0000002": (1493, 2.2855919, 2.8571341, 116.966, 380_723, (0.16976, 0.09345, 0.78375)),
}


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("version-1")
    with zipfile.ZipFile(Path(__file__).with_name("data") / "version-1.zip") as content:
        content.extractall(folder)
    return folder


def test_a_set_of_version_1_reads_to_known_values(old: Path) -> None:
    dataset = manifest.load(old)
    assert (dataset.version, dataset.fields) == (1, FIELDS_V1)
    assert dataset.extensions == ("rgb.jpg", "alpha.lz4", "depth.lz4", "normals.lz4", "json")
    samples = {sample.key: sample for sample in read(old)}
    assert sorted(samples) == ["0000000", "0000001", "0000002"]
    for key, (count, nearest, farthest, rgb, alpha, normal) in KNOWN.items():
        one = samples[key]
        assert one.rgb.shape == (64, 48, 3) and one.meta["scenario"] == "face"
        assert np.count_nonzero(one.depth_valid) == np.count_nonzero(one.normals_valid) == count
        depths = one.depth_m[one.depth_valid]
        assert (depths.min(), depths.max()) == pytest.approx((nearest, farthest), rel=1e-6)
        assert np.isnan(one.depth_m[~one.depth_valid]).all()
        assert one.rgb.mean() == pytest.approx(rgb, abs=0.5) and int(one.alpha.astype(int).sum()) == alpha
        assert one.normals[one.normals_valid].mean(0) == pytest.approx(normal, abs=1e-3)


def test_a_set_of_version_1_verifies_and_shows(old: Path, tmp_path: Path) -> None:
    assert verify(old, deep=True, workers=1)[1] == []
    assert view.gallery(old, tmp_path / "page.html", 0, 9, None) == 3
    report = Report.from_json(manifest.load(old).report)
    assert sum(report.evidence["median_m"].counts) == 3 and report.evidence["nearest_m"].least == pytest.approx(
        0.8865427
    )
    titles = [table.title for table in report_page.tables(manifest.load(old))]
    assert titles[0] == "samples"


def test_a_set_of_version_1_is_mended_to_its_own_bytes(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = plan.PackOptions(val_fraction=0.25, shard_samples=12)
    monkeypatch.setattr(build, "VERSION", 1)
    monkeypatch.setattr(record, "VERSION", 1)
    build.build(raw, tmp_path / "shards", options, workers=1)
    monkeypatch.undo()
    content = json.loads((tmp_path / "shards" / manifest.NAME).read_bytes())
    assert content["version"] == 1 and "fields" not in content
    path = tmp_path / "shards" / "train-000000.tar"
    before = path.read_bytes()
    path.unlink()
    build.build(raw, tmp_path / "shards", options, workers=1)
    assert path.read_bytes() == before
    about = json.loads(before[before.rindex(b'{"id"') :].partition(b"\0")[0])
    assert {"depth_offset_cm", "depth_scale_cm"} <= about.keys() and "fields" not in about


def test_both_versions_of_a_sample_tell_the_same_depth(raw: Path) -> None:
    sample = next(synthhuman.samples(raw))
    ours, theirs = (shard.encode(sample, "jpeg", "lz4", version=version) for version in (2, 1))
    assert ours[:-1] == theirs[:-1]
    new, old = (shard.decode_about(members[-1]) for members in (ours, theirs))
    assert new["fields"] == old["fields"]
    assert np.array_equal(shard.decode(ours, "lz4").depth_m, shard.decode(theirs, "lz4").depth_m, equal_nan=True)
