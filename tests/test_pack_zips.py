"""What a download stands on: groups of zips, part files and their journals, the check of a zip, lock files."""

import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.errors import DavidError
from david.pack.fetch import chunks, lock
from david.pack.fetch.answers import About
from david.pack.fetch.partial import Partial
from david.pack.raw import zipcheck, zips
from david.pack.raw.archive import Entry, Member
from david.pack.work import plan

SAMPLES, ZIP_SAMPLES, SCENARIO_ENDS = 298_008, 5_000, (98_040, 198_016, 298_008)


def test_all_zips_in_threes_are_one_of_each_scenario() -> None:
    groups = chunks.groups([chunks.name(number) for number in range(60)])
    assert groups == tuple(tuple(chunks.name(number) for number in (g, 20 + g, 40 + g)) for g in range(20))


@given(st.sets(st.integers(0, 59)), st.integers(1, 60))
def test_groups_hold_every_zip_once_and_are_even(numbers: set[int], at_most: int) -> None:
    names = sorted(map(chunks.name, numbers))
    groups = chunks.groups(names[::-1], at_most)
    assert sorted(name for group in groups for name in group) == names
    sizes = set(map(len, groups))
    assert not sizes or (max(sizes) <= at_most and max(sizes) - min(sizes) <= 1)


def through_buffer(order: np.ndarray, size: int, chance: np.random.Generator) -> np.ndarray:
    """The order in which a shuffle buffer gives away what it is fed."""
    buffer, given_away = order[:size].tolist(), []
    for place, sample in zip(chance.integers(0, size, len(order) - size).tolist(), order[size:].tolist(), strict=True):
        given_away.append(buffer[place])
        buffer[place] = sample
    return np.array([*given_away, *chance.permutation(buffer)])


def entropy_bits(labels: np.ndarray, kinds: int, batch: int = 96) -> float:
    """The mean over batches of the entropy of their labels."""
    batches = labels[: len(labels) // batch * batch].reshape(-1, batch)
    share = np.stack([(batches == kind).mean(axis=1) for kind in range(kinds)])
    return float(-(share * np.log2(share, where=share > 0, out=np.zeros_like(share))).sum(axis=0).mean())


def test_groups_of_three_mix_scenarios_as_well_as_the_whole_set() -> None:
    """The figures in the docstring of `chunks.groups`."""
    chance = np.random.default_rng(0)
    ids = np.arange(SAMPLES)
    scenario, zip_number = np.searchsorted(SCENARIO_ENDS, ids, side="right"), ids // ZIP_SAMPLES
    names = [chunks.name(number) for number in range(60)]

    def grouped(at_most: int) -> np.ndarray:
        members = [[names.index(name) for name in group] for group in chunks.groups(names, at_most)]
        return np.concatenate([chance.permutation(ids[np.isin(zip_number, group)]) for group in members])

    entry = Entry({"rgb": Member(Path("SynthHuman_0000.zip"), "rgb.png", 1, 0, 0, 1, 0)})
    planned = plan.plan({str(one): entry for one in ids}, plan.PackOptions(val_fraction=0)).shards
    whole = np.array([int(key) for shard in planned for key, _ in shard.samples])
    orders = {"stored": ids, "2": grouped(2), "3": grouped(3), "6": grouped(6), "whole": whole}
    expected = {"stored": (0.02, 0.47), "2": (1.03, 1.22), "3": (1.57, 1.71), "6": (1.57, 2.61), "whole": (1.57, 5.39)}
    for name, order in orders.items():
        read = through_buffer(order, 1024, chance)
        found = entropy_bits(scenario[read], 3), entropy_bits(zip_number[read], 60)
        assert found == pytest.approx(expected[name], abs=0.006), name


@pytest.fixture(scope="module")
def small_zip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path, chance = tmp_path_factory.mktemp("zip") / "small.zip", random.Random(0)
    with zipfile.ZipFile(path, "w") as file:
        for number, kind in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) * 2):
            file.writestr(f"rgb_{number}.png", chance.randbytes(40) * 2, kind)
    return path.read_bytes()


def twin(path: Path) -> bool:
    """Whether Python's own check finds a zip whole."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:  # whatever it trips over
        return False


def test_every_flipped_bit_that_zipfile_would_find_is_found_and_placed(small_zip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flipped.zip"
    path.write_bytes(small_zip)
    assert zipcheck.damage(path, lambda _: None) == []
    found = 0
    for at in range(len(small_zip)):
        data = bytearray(small_zip)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        damage = zipcheck.damage(path, lambda _: None)
        assert damage or twin(path), at
        if damage:
            found += 1
            assert any(start <= at < stop for start, stop in damage), at
    assert found > len(small_zip) * 0.5  # dates, attributes and the like are covered by no checksum


def test_reads_that_bring_less_than_was_asked_for_change_nothing(
    small_zip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pread = tmp_path / "whole.zip", os.pread
    path.write_bytes(small_zip)
    with zipfile.ZipFile(path) as file:
        expected = {name: file.read(name) for name in file.namelist()}
    monkeypatch.setattr(os, "pread", lambda handle, size, offset: pread(handle, min(size, 7), offset))
    listed = zips.entries(path)
    assert {entry.name: zips.read(path, entry) for entry in listed} == expected
    assert [zips.begin(path, entry, 20) for entry in listed] == [expected[entry.name][:20] for entry in listed]


def test_a_zip_cut_anywhere_is_damaged(small_zip: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.zip"
    for size in range(len(small_zip)):
        path.write_bytes(small_zip[:size])
        assert zipcheck.damage(path, lambda _: None) == [(0, size)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fetch"), st.integers(0, 19)),
        st.tuples(st.just("tear"), st.integers(0, 19)),  # written in part, then killed
        st.tuples(st.just("lose"), st.integers(0, 999)),
        st.tuples(st.just("cut"), st.integers(0, 9)),  # the journal loses its last bytes
        st.tuples(st.just("new version"), st.integers(0, 1)),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=100)
@given(STEPS)
def test_parts_that_the_journal_calls_done_hold_their_bytes(tmp_path_factory: pytest.TempPathFactory, steps) -> None:
    target = tmp_path_factory.mktemp("partial") / "a.zip"
    versions = [random.Random(seed).randbytes(1000) for seed in range(2)]
    version = 0
    for what, number in steps:
        if what == "cut":
            journal = target.with_name("a.zip.journal")
            if journal.exists():
                journal.write_bytes(journal.read_bytes()[: max(0, journal.stat().st_size - number)])
        elif what == "new version":
            version = number
        with Partial(target, About(1000, True, f"v{version}", None), 50) as part:
            if what == "lose":
                part.lose([(number, number + 150)])
                assert {number // 50} <= set(part.missing)
            elif what in ("fetch", "tear"):
                start, stop = part.parts[number]
                part.write(start, versions[version][start : stop if what == "fetch" else start + 25])
                if what == "fetch":
                    part.finish([number])
        with Partial(target, About(1000, True, f"v{version}", None), 64) as part:
            data = part.path.read_bytes()
            assert len(part.parts) in (16, 20)
            for number in part.done:
                assert data[slice(*part.parts[number])] == versions[version][slice(*part.parts[number])]


def test_a_lock_comes_back_as_it_was_written(tmp_path: Path) -> None:
    entries = {"b.zip": lock.Entry(2, "ff", '"e"', None), "a.zip": lock.Entry(1, "00")}
    lock.save(tmp_path / "lock.json", entries)
    assert lock.load(tmp_path / "lock.json") == entries


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "david download lock", "version": 1, "zips": {"a": 3}}']
)
def test_what_is_no_lock_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text(content)
    with pytest.raises(DavidError, match=r"lock\.json: not a lock of david's downloads"):
        lock.load(tmp_path / "lock.json")


def test_a_lock_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text('{"format": "david download lock", "version": 2, "zips": {}}')
    with pytest.raises(DavidError, match=r"holds `david download lock` version 2, this david reads"):
        lock.load(tmp_path / "lock.json")
