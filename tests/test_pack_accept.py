"""Data that is unusual and right: `david pack --accept NAME` packs it, says so, and keeps what it said."""

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import people
import pytest
from people import changed, cm
from starters import contents, note_conventions, quick, tiny_raw

from david import cli
from david.pack import DavidError
from david.pack.check import verify
from david.pack.check.conventions import Convention, Seen, to_accept
from david.pack.look import report_page
from david.pack.raw.archive import Entry
from david.pack.shards import manifest
from david.pack.shards.sample import Sample
from david.pack.sources import synthhuman
from david.pack.sources.synthhuman import SynthHuman
from david.pack.work import build, crew, plan, survey, worker
from david.pack.work.record import Record

OPTIONS = plan.PackOptions(val_fraction=0, shard_samples=4, order="stored")
SAMPLES = 16


def telling(shards: list[plan.ShardPlan], folder: Path, packing: plan.Packing, **more: bool) -> Iterator[crew.Event]:
    """A runner in this very process that tells of each sample, as `crew.run` does."""
    for one in shards:
        heard: list[object] = []
        heard.append(worker.write_shard(one, folder, packing, quarantine=more["quarantine"], tell=heard.append))
        yield from (crew.Event(0, what) for what in heard)  # type: ignore[arg-type]


def killed(after: int) -> build.Runner:
    """A runner that ends after so many shards, as if killed."""

    def run(shards: list[plan.ShardPlan], folder: Path, packing: plan.Packing, **more: bool) -> Iterator[crew.Event]:
        yield from telling(shards[:after], folder, packing, **more)
        raise KeyboardInterrupt

    return run


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Samples are looked at without starting processes; how many, each time."""
    taken: list[int] = []

    def look(entries: list[survey.Listed], packing: plan.Packing, workers: int) -> list[Seen]:
        taken.append(len(entries))
        return [survey.see(key, entry, packing) for key, entry in entries]

    monkeypatch.setattr(survey, "look", look)
    return taken


@pytest.fixture(scope="module")
def persons(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    zipped = tiny_raw(tmp_path_factory.mktemp("persons") / "raw.zip", samples=SAMPLES)
    return list(synthhuman.samples(zipped))


def stored(samples: list[Sample], folder: Path, change: people.Change) -> Path:
    for sample in samples:
        people.store(change(sample), folder)
    return folder


def far(sample: Sample) -> Sample:
    """As a telescope sees people: a hundred times as far away."""
    return changed(sample, depth_cm=cm(sample) * 100)


def turned(sample: Sample) -> Sample:
    return changed(sample, normals=-sample.normals)


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `david WORDS` here: its exit code, and what it said, of errors too."""
    monkeypatch.setattr(crew, "run", quick)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["david", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        told = capsys.readouterr()
        return int(end.value.code or 0), told.out, told.err

    return run


def test_an_unusual_unit_is_packed_where_the_refusal_is_taken_at_its_word(say, far_off: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    code, _, told = say("pack", far_off, shards, "--val-fraction", 0)
    assert code == 2 and told.count("\n") == 1 and "is it in millimetres?" in told
    assert not shards.exists() or not list(shards.glob("*.tar"))
    option = re.findall(r"go on with (--accept \w+);", told)
    assert option == ["--accept depth"]
    code, told, errors = say("pack", far_off, shards, "--val-fraction", 0, *shlex.split(option[0]))
    assert (code, errors) == (0, "")
    line = f"accepted: the raw data: depth is .* is it in millimetres\\? \\(seen in {SAMPLES} of {SAMPLES} samples.*"
    said = re.findall(line + r"\), as --accept depth says\n", told)
    assert len(said) == 2, "before packing, and in the summary"
    written = manifest.load(shards)
    (kept,) = written.report["accepted"]
    assert (kept["convention"], kept["where"]) == ("depth", "the raw data") and kept["seen"] in said[0]
    page = (shards / report_page.NAME).read_text()
    assert "Accepted though it looks wrong" in page and "is it in millimetres?" in page
    assert said[0] in say("verify", shards, "--deep")[1]
    assert re.search(r"accepted +depth *\n", say("info", shards)[1])
    assert json.loads(say("info", shards, "--json")[1])["accepted"] == [kept]
    assert "nothing to do" in say("pack", far_off, shards, "--val-fraction", 0)[1]


def test_what_is_accepted_decides_no_byte_of_a_shard(far_off: Path, persons: list[Sample], tmp_path: Path) -> None:
    build.build(far_off, tmp_path / "shards", OPTIONS, runner=telling, accept="depth")
    note_conventions(tmp_path / "blind")
    build.build(far_off, tmp_path / "blind", OPTIONS, runner=quick)  # tells of no sample, so that none is judged
    alike = {*contents(tmp_path / "shards")} - {manifest.NAME, report_page.NAME}
    assert len(alike) == 2 * SAMPLES / OPTIONS.shard_samples
    assert all(contents(tmp_path / "shards")[name] == contents(tmp_path / "blind")[name] for name in alike)
    fingerprints = {manifest.load(tmp_path / name).fingerprint for name in ("shards", "blind")}
    assert len(fingerprints) == 1
    usual = build.build(stored(persons, tmp_path / "raw", lambda s: s), tmp_path / "usual", OPTIONS, runner=quick)
    assert usual and "accepted" not in usual.report
    assert "Accepted" not in (tmp_path / "usual" / report_page.NAME).read_text()


def test_another_fault_is_still_refused_and_it_alone_is_named(persons: list[Sample], tmp_path: Path) -> None:
    raw, shards = stored(persons, tmp_path / "raw", lambda s: far(turned(s))), tmp_path / "shards"
    with pytest.raises(
        DavidError, match=r"Z points away.*millimetres.*go on with --accept depth --accept normals; expected"
    ):
        build.build(raw, shards, OPTIONS, runner=telling)
    with pytest.raises(DavidError, match=r"the raw data: .*Z points away.*go on with --accept normals; exp") as refused:
        build.build(raw, shards, OPTIONS, runner=telling, accept=["depth"])
    assert "millimetres" not in str(refused.value)
    assert not list(shards.glob("*.tar"))
    written = build.build(raw, shards, OPTIONS, runner=telling, accept=["normals", "depth", "depth"])
    assert written and [one["convention"] for one in written.report["accepted"]] == ["normals", "depth"]
    assert verify.verify(shards, deep=True, workers=1)[1] == []


def test_samples_that_make_no_sense_are_accepted_by_no_name(persons: list[Sample], tmp_path: Path) -> None:
    raw = stored(persons, tmp_path / "raw", lambda s: far(changed(s, normals=s.normals * 2)))
    for accept in ((), ("depth", "normals", "alpha")):
        with pytest.raises(DavidError, match="16 samples make no sense") as refused:
            build.build(raw, tmp_path / "shards", OPTIONS, runner=telling, accept=accept)
        assert "--accept" not in str(refused.value)


def test_a_name_that_nothing_speaks_against_is_told_as_that(persons: list[Sample], tmp_path: Path) -> None:
    raw, told = stored(persons[:4], tmp_path / "raw", lambda s: s), list[str]()
    written = build.build(raw, tmp_path / "shards", OPTIONS, runner=telling, accept=["alpha"], say=told.append)
    assert written
    assert told[1:] == [f"accepted: alpha, against which nothing was seen in {4} of {4} samples"]
    assert [str(one) for one in report_page.report_of(written).accepted] == told[1:]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "--accept is `depht`, but can only be normals, depth, alpha, conventions of synthhuman"),
        ("--dry-run", "--accept is `depht`, but can only be normals, depth, alpha, conventions of synthhuman"),
        ("--source folder", "--accept is `depht`, but can only be normals, depth, conventions of folder"),
        ("--source nyu_labeled", "--accept is `depht`, but can only be depth, conventions of nyu_labeled"),
    ],
)
def test_an_unknown_name_is_one_sentence(words: str, told: str, say, far_off: Path, tmp_path: Path) -> None:
    answer = say("pack", far_off, tmp_path / "shards", *words.split(), "--accept", "depth", "--accept", "depht")
    answer = say("pack", far_off, tmp_path / "shards", *words.split(), "--accept", "depht")
    assert answer == (2, "", f"david: {told}\n")
    assert not (tmp_path / "shards").exists()


def test_a_source_without_conventions_has_none_to_accept() -> None:
    with pytest.raises(DavidError, match="--accept is `depth`, but rooms has no conventions"):
        to_accept(["depth"], (), "rooms")


def test_a_convention_of_ones_own_is_accepted_by_its_name(persons: list[Sample], tmp_path: Path) -> None:
    class Brightness(Convention):
        name = "rgb"
        expected = "bright pictures"

        def faults(self, good: object) -> list[str]:
            return ["it is dark"]

    class Dark(SynthHuman):
        name = "dark"
        checks: ClassVar[tuple[Convention, ...]] = (Brightness(),)

    raw = stored(persons[:4], tmp_path / "raw", lambda s: s)
    with pytest.raises(DavidError, match="it is dark .* go on with --accept rgb; expected: bright pictures"):
        build.build(raw, tmp_path / "shards", OPTIONS, source=Dark(), runner=telling)
    assert build.build(raw, tmp_path / "shards", OPTIONS, source=Dark(), runner=telling, accept=["rgb"])


def test_a_killed_pack_goes_on_with_what_it_accepted_and_not_without(
    far_off: Path, tmp_path: Path, looks: list[int]
) -> None:
    alone, shards = tmp_path / "alone", tmp_path / "shards"
    build.build(far_off, alone, OPTIONS, runner=telling, accept=["depth", "alpha"])
    with pytest.raises(KeyboardInterrupt):
        build.build(far_off, shards, OPTIONS, runner=killed(2), accept=["depth"])
    before = contents(shards)
    with pytest.raises(DavidError, match="was begun with --accept depth, now with nothing accepted; go on with the"):
        build.build(far_off, shards, OPTIONS, runner=telling)
    with pytest.raises(DavidError, match="was begun with --accept depth, now with --accept alpha; go on with the same"):
        build.build(far_off, shards, OPTIONS, runner=telling, accept=["alpha"])
    assert contents(shards) == before
    looks.clear()
    with pytest.raises(KeyboardInterrupt):
        build.build(far_off, shards, OPTIONS, runner=killed(1), accept=["depth"])
    assert looks == [], "it was looked at before"
    written = build.build(far_off, shards, OPTIONS, runner=telling, accept=["depth", "alpha"])
    assert looks == [SAMPLES], "more is accepted than was looked at before"
    assert written and contents(shards) == contents(alone)


def test_where_no_shard_is_finished_less_may_be_accepted_and_is_looked_at_again(
    far_off: Path, tmp_path: Path, looks: list[int]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build.build(far_off, tmp_path / "shards", OPTIONS, runner=killed(0), accept=["depth"])
    with pytest.raises(DavidError, match="the raw data: depth is .* nothing was packed"):
        build.build(far_off, tmp_path / "shards", OPTIONS, runner=telling)
    assert looks == [SAMPLES] * 2
    assert survey.accepted(Record(tmp_path / "shards")) == []


def test_parts_accept_together_and_make_the_same_set(far_off: Path, tmp_path: Path) -> None:
    build.build(far_off, tmp_path / "alone", OPTIONS, runner=telling, accept=["depth"])
    first, last = build.Part(1, 2), build.Part(2, 2)
    build.build(far_off, tmp_path / "shards", OPTIONS, part=first, runner=telling, accept=["depth"])
    with pytest.raises(DavidError, match="was begun with --accept depth, now with nothing accepted"):
        build.build(far_off, tmp_path / "shards", OPTIONS, part=last, runner=telling)
    build.build(far_off, tmp_path / "shards", OPTIONS, part=last, runner=telling, accept=["depth"])
    assert contents(tmp_path / "shards") == contents(tmp_path / "alone")


@pytest.fixture
def turning(persons: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set whose later archive is far away, in which the first look took no sample of that."""
    raw = tmp_path / "turning"
    tiny_raw(tmp_path / "first.zip", samples=4)
    shifted = [replace(one, key=f"1{one.key[1:]}") for one in persons]
    stored(shifted, raw, far)
    (raw / "first.zip").symlink_to(tmp_path / "first.zip")
    chosen = survey.chosen

    def first(whole: plan.Plan) -> list[tuple[str, Entry]]:
        return [one for one in chosen(whole) if one[1].archive.name == "first.zip"]

    monkeypatch.setattr(survey, "chosen", first)
    return raw


def test_what_turns_unusual_while_packing_goes_on_once_it_is_accepted(turning: Path, tmp_path: Path) -> None:
    shards, told = tmp_path / "shards", list[str]()
    with pytest.raises(DavidError, match=r"turning: depth is .*latest 8 samples.* go on with --accept depth; expected"):
        build.build(turning, shards, OPTIONS, runner=telling)
    before = contents(shards)
    assert [name for name in before if name.endswith(".tar")], "shards of the first archive are finished"
    written = build.build(turning, shards, OPTIONS, runner=telling, accept=["depth"], say=told.append)
    assert written and all(contents(shards)[name] == data for name, data in before.items() if name.endswith(".tar"))
    assert [line for line in told if "accepted: turning: depth is" in line and "is it in millimetres?" in line]
    assert [one["convention"] for one in written.report["accepted"]] == ["depth"]
    told.clear()
    build.build(turning, tmp_path / "again", OPTIONS, runner=telling, accept=["depth"], say=told.append)
    assert len([line for line in told if line.startswith("accepted: turning: ")]) == 1, "not after every 8 samples"


def test_an_archive_that_alone_is_unusual_is_told_by_its_name(persons: list[Sample], tmp_path: Path) -> None:
    raw, told = tmp_path / "mixed", list[str]()
    tiny_raw(tmp_path / "usual.zip", samples=SAMPLES)
    stored([replace(one, key=f"1{one.key[1:]}") for one in persons[:8]], raw, far)
    (raw / "usual.zip").symlink_to(tmp_path / "usual.zip")
    with pytest.raises(DavidError, match=r"mixed: depth is .*seen in 8 samples of it.*go on with --accept depth; exp"):
        build.build(raw, tmp_path / "shards", OPTIONS, runner=telling)
    written = build.build(raw, tmp_path / "shards", OPTIONS, runner=telling, accept=["depth"], say=told.append)
    assert written and [(one["convention"], one["where"]) for one in written.report["accepted"]] == [("depth", "mixed")]
    assert len([line for line in told if line.startswith("accepted: ")]) == 1


@pytest.mark.parametrize("rows", [[{"convention": "depth"}], [{"convention": 1, "where": "x", "seen": ""}], "x", [1]])
def test_a_forged_list_of_what_was_accepted_is_a_named_error(rows: object, figures: Path, tmp_path: Path) -> None:
    there = manifest.load(figures)
    with pytest.raises(DavidError, match="its report is none of packing"):
        report_page.report_of(replace(there, report=there.report | {"accepted": rows}))
    record = Record(tmp_path)
    record.folder.mkdir()
    (record.folder / "conventions-all.json").write_text(json.dumps({"accepted": rows}))
    with pytest.raises(DavidError, match="conventions-all.json: damaged .*--restart"):
        survey.accepted(record)
