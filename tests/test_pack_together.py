"""Jobs that start or end together make one set, or say in a sentence that another is at work."""

import errno
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import power_cut
import pytest
from starters import (
    OPTIONS,
    STARTS,
    at_once,
    contents,
    job,
    merges,
    packs,
    small,
    understood,
)

from david.pack import DavidError, alone, files
from david.pack.look import report_page
from david.pack.shards import manifest
from david.pack.shards.manifest import Manifest
from david.pack.work import build, claims, plan, survey, worker
from david.pack.work.record import Record

ROUNDS = 2  # tests/soak/pack.py does many


@pytest.fixture(autouse=True)
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_encode", small)
    monkeypatch.setattr(survey, "begin", lambda *_: None)
    monkeypatch.setattr(report_page, "_thumbnails", lambda _: "")


@pytest.fixture
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def few(two_zips: Path) -> Path:
    """A zip of twelve samples."""
    return sorted(two_zips.glob("*.zip"))[0]


@pytest.fixture
def expected(few: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one job alone writes."""
    packs(few, tmp_path / "alone" / "shards")()
    return contents(tmp_path / "alone" / "shards")


@pytest.mark.parametrize("words", STARTS, ids=" ".join)
def test_jobs_that_start_together_make_one_set(
    words: tuple[str, ...], few: Path, expected: dict[str, bytes], quick_disk: None, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        shards = tmp_path / str(number) / "shards"
        outcomes = at_once([job(word, few, shards) for word in words])
        assert all(map(understood, outcomes)), outcomes
        assert not all(isinstance(one, Exception) for one in outcomes), outcomes
        if len(set(words)) == len(words) and "1/8" not in words:
            assert any(isinstance(one, Manifest) for one in outcomes), outcomes
        packs(few, shards)()
        assert contents(shards) == expected
        shutil.rmtree(shards)


@pytest.mark.parametrize("jobs", [2, 4])
def test_merges_that_start_together_all_give_the_set(
    jobs: int, few: Path, expected: dict[str, bytes], quick_disk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = tmp_path / "ready" / "shards"
    with monkeypatch.context() as never:
        never.setattr(build, "_end", lambda *_, **__: None)
        packs(few, ready)()
    for number in range(ROUNDS):
        shards = Path(shutil.copytree(ready, tmp_path / str(number) / "shards"))
        outcomes = at_once([merges(shards)] * jobs)
        assert all(isinstance(one, Manifest) for one in outcomes), outcomes
        assert contents(shards) == expected


def test_of_two_that_start_over_one_does(
    few: Path, expected: dict[str, bytes], quick_disk: None, tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    packs(few, shards)()
    outcomes = at_once([packs(few, shards, restart=True)] * 2)
    assert all(map(understood, outcomes)), outcomes
    assert contents(shards) == expected


def test_a_plan_without_a_shard_makes_room_unless_a_job_holds_a_part_or_may_yet_finish_one(
    few: Path, tmp_path: Path
) -> None:
    shards, other = tmp_path / "shards", replace(OPTIONS, seed=1)
    mine = Record(shards)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packs(few, shards, planned=stop)()
    agreed = mine.plan_path(None).read_bytes()
    with mine.claim("all", 1, 2), pytest.raises(DavidError, match="was begun otherwise: seed is 0 there and 1 now"):
        packs(few, shards, "2/2", other)()
    (left := shards / ".train-000000.tar.0123456789abcdef.part").touch()  # of a worker that outlived its pack
    with pytest.raises(DavidError, match="was begun otherwise: seed is 0 there and 1 now"):
        packs(few, shards, options=other)()
    assert mine.plan_path(None).read_bytes() == agreed
    left.unlink()
    packs(few, tmp_path / "alone", options=other)()
    (note := mine.folder / "conventions-all.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        packs(few, shards, options=other, planned=stop)()
    assert not note.exists(), "the other data was looked at, not this"
    packs(few, shards, options=other)()
    assert contents(shards) == contents(tmp_path / "alone")


@pytest.mark.parametrize("parts", [("1/1", "1/1"), ("1/2", "2/2")], ids="+".join)
def test_jobs_of_different_plans_that_start_together_never_mix_them(
    parts: tuple[str, str], few: Path, tmp_path: Path
) -> None:
    kinds = [OPTIONS, replace(OPTIONS, seed=1)]
    alone = []
    for number, options in enumerate(kinds):
        packs(few, tmp_path / f"alone-{number}", options=options)()
        alone.append(contents(tmp_path / f"alone-{number}"))
    for number in range(ROUNDS):
        shards = tmp_path / f"round-{number}"
        jobs = [packs(few, shards, part, options) for part, options in zip(parts, kinds, strict=True)]
        outcomes = at_once(jobs)
        assert all(understood(one) or "was begun otherwise" in str(one) for one in outcomes), outcomes
        made = contents(shards)
        tars = {name: data for name, data in made.items() if name.endswith(".tar")}
        assert any(tars.items() <= whole.items() for whole in alone)
        assert parts == ("1/2", "2/2") or made in alone


def test_a_part_that_shares_shards_with_one_at_work_is_refused(few: Path, tmp_path: Path) -> None:
    with Record(tmp_path).claim("all", 1, 8):
        for part in ("1/8", "1/16", "9/16", "1/1", "1/3"):
            with pytest.raises(DavidError, match=r"another david pack is at work on part .* as part 1/8"):
                packs(few, tmp_path, part)()
        with pytest.raises(DavidError, match="another david pack is at work on it, as part 1/8"):
            packs(few, tmp_path, "2/8", restart=True)()
        assert packs(few, tmp_path, "2/16")() is None
        assert packs(few, tmp_path, "3/8")() is None


def test_a_plan_and_a_manifest_are_written_under_the_lock(
    few: Path, quick_disk: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that two jobs of other options, that start together, never both find none."""
    write, end, held = files.write_whole, Manifest.write, {}

    def watched(path: Path, data: bytes) -> None:
        held[path.name] = alone.is_held(tmp_path / claims.FOLDER / claims.LOCK)
        write(path, data)

    def ended(whole: Manifest) -> None:
        held[manifest.NAME] = alone.is_held(tmp_path / claims.FOLDER / claims.LOCK)
        end(whole)

    monkeypatch.setattr(files, "write_whole", watched)
    monkeypatch.setattr(Manifest, "write", ended)
    packs(few, tmp_path)()
    assert held["plan.json"] and held[manifest.NAME]
    assert not held["train-000000.json"]  # shards are written side by side


def test_merge_looks_at_the_tars(few: Path, expected: dict[str, bytes], quick_disk: None, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    packs(few, shards, "1/2")()
    tar, index, *_ = sorted(path for path in shards.iterdir() if path.suffix in (".tar", ".idx"))
    assert index.suffix == ".tar" or tar.suffix == ".idx"
    cut = next(shards.glob("*.tar"))
    cut.write_bytes(cut.read_bytes()[:-512])
    assert packs(few, shards, "2/2")() is None
    with pytest.raises(DavidError, match=rf"1 of \d+ shards are missing or damaged \(the first: {cut.stem}\)"):
        build.merge(shards)
    assert isinstance(packs(few, shards, "1/2")(), Manifest)
    assert contents(shards) == expected


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_file_keeps_jobs_apart(
    number: int,
    few: Path,
    expected: dict[str, bytes],
    quick_disk: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(alone.fcntl, "flock", none)
    shards = tmp_path / "shards"
    outcomes = at_once([packs(few, shards), packs(few, shards), merges(shards)])
    assert all(map(understood, outcomes)), outcomes
    packs(few, shards)()
    assert contents(shards) == expected
    with Record(tmp_path / "other").claim("all", 1, 2), pytest.raises(DavidError, match="another david pack"):
        packs(few, tmp_path / "other", "1/4")()


def test_without_locks_a_process_that_is_gone_holds_nothing_and_one_elsewhere_is_named(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(alone.fcntl, "flock", none)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    held = tmp_path / claims.FOLDER / f"{claims.LOCK}.held"
    held.parent.mkdir()
    held.write_text(f"{socket.gethostname()} {ended.stdout.strip()}")
    assert isinstance(packs(few, tmp_path)(), Manifest)
    held.parent.mkdir()
    held.write_text("elsewhere 17")
    monkeypatch.setattr(alone, "HELD_S", 0.0)
    with pytest.raises(DavidError, match=r"lock\.held: held by elsewhere 17; if that process is gone, delete the file"):
        packs(few, tmp_path)()


TWO = plan.PackOptions(val_fraction=0.25)  # a shard of each split


def test_a_power_cut_at_any_moment_of_a_pack_costs_no_byte(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, after = tmp_path / "shards", tmp_path / "after" / "shards"
    shards.mkdir()
    states = list(power_cut.cuts(shards, packs(few, shards, options=TWO)))
    expected = contents(shards)
    assert states[-1].files == expected
    assert len(states) > 50
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for cut in states:
        cut.lay(after)
        if (after / manifest.NAME).exists():  # what has a manifest is whole
            assert {name: data for name, data in cut.files.items() if not name.startswith(".")} == expected, cut.when
        packs(few, after, options=TWO)()
        assert contents(after) == expected, cut.when


def test_mending_that_gives_other_bytes_touches_no_file_and_leaves_nothing(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = tmp_path / "shards"
    assert isinstance(packs(few, shards)(), Manifest)
    whole = contents(shards)
    monkeypatch.setattr(worker, "_encode", lambda key, *_: small(str(int(key) + 1)))  # as another library would
    for name in ("train-000000.idx", "train-000001.tar"):  # a sound tar beside a damaged index; a damaged tar
        damaged = bytearray(whole[name])
        damaged[len(damaged) // 2] ^= 1
        (shards / name).write_bytes(damaged)
        before = contents(shards)
        with pytest.raises(DavidError, match=r"tar: packed again it has other bytes than the manifest lists, and was"):
            packs(few, shards)()
        assert contents(shards) == before
        assert not (shards / claims.FOLDER).exists()
        (shards / name).write_bytes(whole[name])
    (shards / "train-000000.tar").unlink()
    with pytest.raises(DavidError, match="other bytes"):
        packs(few, shards)()
    monkeypatch.setattr(worker, "_encode", small)
    packs(few, shards)()
    assert contents(shards) == whole


def test_a_power_cut_while_a_set_is_mended_costs_no_byte(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, after = tmp_path / "shards", tmp_path / "after" / "shards"
    packs(few, shards, options=TWO)()
    expected = contents(shards)
    (shards / "val-000000.idx").write_bytes(b"v1.2 0\n")
    states = list(power_cut.cuts(shards, packs(few, shards, options=TWO)))
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for cut in states:
        packs(few, cut.lay(after), options=TWO)()
        assert contents(after) == expected, cut.when


def test_damaged_records_are_written_again_and_a_damaged_plan_is_named(
    few: Path, expected: dict[str, bytes], quick_disk: None, tmp_path: Path
) -> None:
    shards, kept = tmp_path / "shards", tmp_path / "shards" / claims.FOLDER
    packs(few, shards, "1/2")()
    lines = sorted(path for path in kept.glob("*-*.json") if not path.name.startswith("plan"))
    for path, data in zip(lines, (b"", b"[]", b'{"split": 1}'), strict=False):
        path.write_bytes(data)
    assert packs(few, shards, "2/2")() is None
    (kept / "plan.json").rename(kept / "aside")
    (kept / "plan.json").write_bytes(b"{}")
    with pytest.raises(DavidError, match=r"plan\.json: no plan of a pack .* start over with --restart"):
        packs(few, shards, "1/2")()
    (kept / "aside").rename(kept / "plan.json")
    assert packs(few, shards, "1/2")() is not None
    assert contents(shards) == expected
    packs(few, shards, "1/2", restart=True)()
    (kept / "plan.json").write_bytes(b"{}")
    packs(few, shards, restart=True)()
    assert contents(shards) == expected
