"""A made-up source with made-up fields packs, reads, verifies and shows, from this one file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from david.pack import BadSample, DavidError, Sample, read
from david.pack.check.verify import verify
from david.pack.look import view
from david.pack.raw import archive
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards import manifest
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import table
from david.pack.sources.source import Raw, Source
from david.pack.work import build, plan

SIZE = 20, 30


@dataclass(frozen=True)
class Swatches(Source):
    """`SPLIT/NUMBER.txt`, each a brightness: an image of it, hair, a slope and a flow that looks right."""

    name = "swatches"
    gain: int = 1

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return (raw / "swatches").exists()

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        assert isinstance(raw, Path)
        members = [one for one in archive.members(raw) if one.name.endswith(".txt")]
        return {Path(one.name).stem: Entry({"rgb": one}, Path(one.name).parent.name) for one in members}

    def fields(self, found: Found) -> Fields:
        return RGB, Field("hair", "u8"), Field("slope", "f16-affine"), Field("flow", "octahedral-12", within="slope")

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        level = int(data["rgb"]) * self.gain
        slope, flow = np.full(SIZE, np.nan, np.float32), np.zeros((*SIZE, 3), np.float32)
        slope[:, 5:], flow[..., 0] = np.linspace(level, level + 1, SIZE[1] - 5), 1
        values = {"hair": np.full(SIZE, level, np.uint8), "slope": slope, "flow": flow}
        if level % 2:
            del values["hair"]
        masks = {"hair": np.ones(SIZE, bool), "slope": ~np.isnan(slope), "flow": np.ones(SIZE, bool)}
        return Sample(key, np.full((*SIZE, 3), level, np.uint8), values, masks, meta={"level": level})


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(table.SOURCES, "swatches", Swatches)
    for split, numbers in (("left", range(10, 14)), ("right_2", range(20, 23))):
        (tmp_path / "raw" / split).mkdir(parents=True)
        for number in numbers:
            (tmp_path / "raw" / split / f"s{number}.txt").write_text(str(number))
    (tmp_path / "raw" / "swatches").touch()
    return tmp_path / "raw"


def test_a_source_of_ones_own_packs_reads_verifies_and_shows(raw: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    build.build(raw, shards, plan.PackOptions(shard_samples=3), workers=1)
    dataset = manifest.load(shards)
    assert dataset.options["source"] == "swatches" and list(dataset.splits) == ["left", "right_2"]
    assert dataset.fields == Swatches().fields({})
    for split, numbers in (("left", range(10, 14)), ("right_2", range(20, 23))):
        samples = {one.key: one for one in read(shards, split)}
        assert sorted(samples) == [f"s{number}" for number in numbers]
        for number in numbers:
            one = samples[f"s{number}"]
            assert one.meta["level"] == number and one.valid("hair").all() == (number % 2 == 0)
            assert np.array_equal(one.valid("flow"), one.valid("slope")) and not one.valid("slope")[:, :5].any()
            assert one.value("slope")[0, -1] == pytest.approx(number + 1, abs=1e-3)
            assert np.abs(one.value("flow")[0, 9] - [1, 0, 0]).max() < 1e-3
            with pytest.raises(DavidError, match="has no depth; there is rgb, hair, slope, flow"):
                _ = one.depth_m
    assert verify(shards, deep=True, workers=1)[1] == []
    assert view.gallery(shards, tmp_path / "page.html", 0, 20, None) == 7
    assert view.gallery(raw, tmp_path / "raw.html", 0, 20, None) == 7


def test_its_options_are_kept_and_compared(raw: Path, tmp_path: Path) -> None:
    source = table.chosen(raw, None, {"gain": 2})
    assert source == Swatches(gain=2)
    options = plan.PackOptions(shard_samples=3)
    build.build(raw, tmp_path / "shards", options, source=source, workers=1)
    assert manifest.load(tmp_path / "shards").options["gain"] == 2
    assert plan.PackOptions.words(manifest.load(tmp_path / "shards").options).endswith("--gain 2")
    with pytest.raises(DavidError, match="gain is 2 there and None now"):
        build.build(raw, tmp_path / "shards", options, workers=1)


def test_restart_takes_away_its_splits_and_no_others_tars(raw: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    build.build(raw, shards, plan.PackOptions(shard_samples=3), workers=1)
    (shards / "photos-000001.tar").write_bytes(b"mine")
    build.build(raw, shards, plan.PackOptions(shard_samples=9), workers=1, restart=True)
    assert sorted(path.name for path in shards.glob("*.tar")) == [
        "left-000000.tar", "photos-000001.tar", "right_2-000000.tar",
    ]  # fmt: skip


def test_a_split_that_is_no_name_is_refused(raw: Path, tmp_path: Path) -> None:
    (raw / "left").rename(raw / "My Left")
    with pytest.raises(DavidError, match="a split is called `My Left`"):
        build.build(raw, tmp_path / "shards", workers=1)
