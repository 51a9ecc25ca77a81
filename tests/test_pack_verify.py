"""Whatever changed in a shard set is found, and named."""

import hashlib
import json
import random
import re
import shlex
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import starters
import typer.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from people import cm, made

from david import cli
from david.pack import BadSample, DavidError, read
from david.pack.check import verify
from david.pack.look import report_page
from david.pack.shards import index, manifest, shard
from david.pack.work import build, plan, repair
from david.pack.work.plan import SPLITS
from david.pipeline.reading.reader import Reader


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
    sample = made("a", np.zeros((64, 48, 3), np.uint8), alpha, ramp, normals, whole, whole, None)
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
    assert len(index.entries(tmp_path / "train-000000.idx", manifest.load(tmp_path).extensions)[0]) == 2


def mutated(content: object, data: st.DataObject) -> object:
    """JSON with one thing changed: a value of another kind, a key gone or new, an entry twice or gone."""
    strange = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=9),
        st.just([]),
        st.just({}),
        st.just("../x"),
    )
    if isinstance(content, dict) and content and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(content)))
        return content | {key: mutated(content[key], data)}
    if isinstance(content, list) and content and data.draw(st.integers(0, 5)):
        place = data.draw(st.integers(0, len(content) - 1))
        return [*content[:place], mutated(content[place], data), *content[place + 1 :]]
    if isinstance(content, dict) and content and data.draw(st.booleans()):
        return {key: value for key, value in content.items() if key != data.draw(st.sampled_from(sorted(content)))}
    if isinstance(content, list) and content and data.draw(st.booleans()):
        return data.draw(st.sampled_from([content[:-1], content + content[:1], content[::-1]]))
    return data.draw(strange)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_forged_manifest_with_a_right_hash_loads_or_is_refused(data: st.DataObject, packed: Path) -> None:
    content = json.loads((packed / manifest.NAME).read_bytes())
    forged = mutated(content, data)
    text = json.dumps(forged | {"sha256": "0" * 64} if isinstance(forged, dict) else forged).encode()
    signature = hashlib.sha256(text).hexdigest().encode()
    folder = packed / "forged"
    folder.mkdir(exist_ok=True)
    (folder / manifest.NAME).write_bytes(text.replace(b"0" * 64, signature, 1))
    try:
        there = manifest.load(folder)
        report_page.tables(there)
        repair.advice(there)
        assert there.fingerprint
    except DavidError as error:
        assert "dataset.json" in str(error) or "forged" in str(error)


def test_advice_quotes_whatever_a_manifest_says_of_its_options(packed: Path) -> None:
    there = manifest.load(packed)
    odd = replace(there, options=there.options | {"order": "; touch harm", "seed": "$(touch harm)"})
    assert "--order '; touch harm'" in repair.advice(odd) and "--seed '$(touch harm)'" in repair.advice(odd)


def test_two_shards_that_changed_places_are_named_by_whoever_reads(packed: Path) -> None:
    one, two, *_ = [row.name for row in manifest.load(packed).split("train")]
    for suffixes in ((".tar", ".idx"), (".tar",)):
        for suffix in suffixes:
            (packed / f"{one}{suffix}").rename(packed / "aside")
            (packed / f"{two}{suffix}").rename(packed / f"{one}{suffix}")
            (packed / "aside").rename(packed / f"{two}{suffix}")
        with pytest.raises(DavidError, match=one):
            list(read(packed, "train"))
        assert verify.verify(packed, workers=1)[1]


def test_shards_alike_in_every_length_can_t_stand_for_each_other(tmp_path: Path) -> None:
    listed = []
    for number, key in enumerate("ab"):
        listed.append(shard.write(tmp_path / f"train-{number:06d}.tar", [(key, starters.small("1"))], "jpeg", "lz4"))
        data = (tmp_path / f"train-{number:06d}.tar").read_bytes()
        assert len(data) == listed[0].bytes
    manifest.Manifest(tmp_path, plan.PackOptions().as_json(), {"train": tuple(listed)}).write()
    (tmp_path / "train-000000.tar").write_bytes((tmp_path / "train-000001.tar").read_bytes())
    with pytest.raises(BadSample, match=r"train-000000\.tar, sample 0 \(a\): rgb\.jpg: its bytes changed"):
        list(read(tmp_path))
    with closing(Reader(tmp_path, "train")) as reader, pytest.raises(BadSample, match="another sample stands there"):
        reader.read(0)


@pytest.mark.parametrize("seed", range(2))
def test_reading_gives_what_was_packed_or_names_what_changed(seed: int, packed: Path) -> None:
    """Flipped bits in shards and indexes: each is named by shard, or changes nothing that is read."""
    dataset, chance, named = manifest.load(packed), random.Random(seed), 0
    whole = {split: [sample.rgb.tobytes() + cm(sample).tobytes() for sample in read(packed, split)] for split in SPLITS}
    files = sorted(path for path in packed.iterdir() if path.suffix in (".tar", ".idx"))
    for _ in range(12):
        path = chance.choice(files)
        split, data = path.name.split("-")[0], path.read_bytes()
        place = chance.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
        try:
            found = [sample.rgb.tobytes() + cm(sample).tobytes() for sample in read(packed, split)]
            assert found == whole[split], (path, place)
        except DavidError as error:
            assert path.stem in str(error)
            named += 1
        path.write_bytes(data)
    assert named > 8
    assert dataset.splits


def test_what_verify_names_the_command_that_it_tells_mends_and_nothing_else(raw: Path, packed: Path) -> None:
    """A missing tar, a flipped bit, a cut index, a lost shard: the same bytes again, the other files untouched."""
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in packed.iterdir() if path.is_file()}
    one, two, three, *_ = sorted(path.stem for path in packed.glob("*.tar"))
    (packed / f"{one}.tar").unlink()
    flipped = bytearray((packed / f"{two}.tar").read_bytes())
    flipped[3000] ^= 4
    (packed / f"{two}.tar").write_bytes(flipped)
    (packed / f"{three}.idx").write_bytes(b"v1.2 0\n")
    david = typer.testing.CliRunner()
    done = david.invoke(cli.app, ["verify", str(packed), "--workers", "1"])
    (words,) = re.findall("by: david (pack RAW .*)", str(done.exception))
    mended = david.invoke(cli.app, [*shlex.split(words.replace("RAW", str(raw))), "--workers", "1"])
    assert mended.exit_code == 0, mended.output
    assert f"mended {one}, {two}, {three}; all else is as packed" in mended.output
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in packed.iterdir()}
    assert {name: data for name, (data, _) in after.items()} == {name: data for name, (data, _) in before.items()}
    touched = {name.split(".")[0] for name in before if after[name][1] != before[name][1]}
    assert touched == {one, two, three}
    again = david.invoke(cli.app, [*shlex.split(words.replace("RAW", str(raw))), "--workers", "1"])
    assert "nothing to do: every byte is as packed" in again.output
    (packed / f"{one}.tar").unlink()
    with pytest.raises(DavidError, match=r"holds a finished set: mending .* takes the raw data .* \(SynthHuman_0000"):
        build.build(packed / "nowhere", packed, plan.PackOptions(val_fraction=0.25, shard_samples=7))
