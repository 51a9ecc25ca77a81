"""Whatever changed in a shard set is found, and named."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from david.pack import DavidError, index, manifest, plan, shard, verify
from david.pack.schema import Sample


@pytest.fixture
def packed(raw: Path, shards: Path, tmp_path: Path) -> Path:
    """A copy of the packed set that a test may spoil."""
    return Path(shutil.copytree(shards, tmp_path / "shards"))


def test_a_whole_set_has_no_faults(shards: Path) -> None:
    dataset, faults = verify.verify(shards, deep=True, workers=1)
    assert faults == []
    assert dataset.fingerprint == manifest.load(shards).fingerprint


def sample_at(path: Path, offset: int, dataset: manifest.Manifest) -> str | None:
    """The key of the sample that holds a byte of a tar; None behind the last."""
    for line in path.with_suffix(".idx").read_text().splitlines()[1:]:
        words = line.split()
        end = int(words[-3]) + int(words[-2])
        if offset < end + -end % 512:
            return words[3].split(".")[0]
    return None


@pytest.mark.parametrize("seed", range(3))
def test_any_flipped_bit_is_named_by_shard_and_sample(seed: int, packed: Path) -> None:
    dataset, chance = manifest.load(packed), random.Random(seed)
    listed = {one.name: one for rows in dataset.splits.values() for one in rows}
    names = sorted(path for path in packed.iterdir() if path.suffix != ".html")
    for _ in range(60):
        path = chance.choice(names)
        whole = path.read_bytes()
        place = chance.randrange(len(whole))
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << chance.randrange(8)
        path.write_bytes(spoilt)
        if path.name == manifest.NAME:
            with pytest.raises(DavidError, match=r"dataset\.json"):
                manifest.load(packed)
        else:
            found = verify.walk(dataset, listed[path.stem], deep=False)
            told = " ".join(found.faults)
            assert path.stem in told, (path, place)
            key = sample_at(path, place, dataset) if path.suffix == ".tar" else None
            assert key is None or key in told, (path, place, told)
        path.write_bytes(whole)


def test_missing_cut_foreign_and_doubled_files_are_named(packed: Path) -> None:
    dataset = manifest.load(packed)
    one, two, *_ = [row.name for row in dataset.split("train")]
    (packed / f"{one}.tar").rename(packed / "aside")
    assert any(f"{one}.tar: can't be read" in fault for fault in verify.verify(packed, workers=1)[1])
    (packed / "aside").rename(packed / f"{one}.tar")

    whole = (packed / f"{one}.tar").read_bytes()
    (packed / f"{one}.tar").write_bytes(whole[: len(whole) // 2])
    assert any("the shard ends within it" in fault for fault in verify.verify(packed, workers=1)[1])

    for suffix in (".tar", ".idx"):
        shutil.copy(packed / f"{two}{suffix}", packed / f"{one}{suffix}")
    faults = verify.verify(packed, workers=1)[1]
    assert any(one in fault for fault in faults)
    assert any("is there more than once" in fault for fault in faults)
    shutil.copy(packed / f"{two}.tar", packed / "train-999999.tar")
    assert any("train-999999.tar: not in the manifest" in fault for fault in verify.verify(packed, workers=1)[1])


def test_deep_finds_what_was_wrong_before_it_was_signed(tmp_path: Path) -> None:
    """Members that agree with every hash, but that no decoder accepts."""
    ramp = np.linspace(100, 200, 64 * 48, dtype=np.float32).reshape(64, 48)
    normals = np.tile(np.float32([0, 0, 1]), (64, 48, 1))
    alpha = np.full((64, 48), 255, np.uint8)
    whole = np.ones((64, 48), bool)
    sample = Sample("a", np.zeros((64, 48, 3), np.uint8), alpha, ramp, normals, whole, whole, None)
    good = shard.encode(sample, "jpeg", "lz4")
    bad = [*good[:2], good[2][:24] + bytes(len(good[2]) - 24), *good[3:]]
    written = shard.write(tmp_path / "train-000000.tar", [("a", good), ("b", bad)], "jpeg", "lz4")
    options = plan.PackOptions().as_json()
    raw = {"archives": [], "samples": 2, "digest": ""}
    manifest.Manifest(tmp_path, options, {"train": (written,), "val": ()}, raw=raw).write()
    assert verify.verify(tmp_path, workers=1)[1] == []
    faults = verify.verify(tmp_path, deep=True, workers=1)[1]
    assert len(faults) == 1
    assert "train-000000.tar, sample 1 (b)" in faults[0]
    assert len(index.load(tmp_path / "train-000000.idx", manifest.load(tmp_path).extensions)) == 2
