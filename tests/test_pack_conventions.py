"""A set with wrong conventions is refused before hours are spent, or where it turns wrong; odd samples are packed."""

import faulthandler
import itertools
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import connection, get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import people
import pytest
from people import changed, cm
from starters import tiny_raw

from david.pack import BadSample, DavidError, read
from david.pack.check import verify
from david.pack.check.conventions import Seen
from david.pack.check.report import Report
from david.pack.look import report_page
from david.pack.raw import archive
from david.pack.raw.archive import Entry
from david.pack.shards import manifest
from david.pack.shards.sample import Sample
from david.pack.sources import synthhuman
from david.pack.work import build, crew, plan, survey
from david.pack.work.claims import FOLDER
from david.pack.work.record import Record
from david.pack.work.worker import Tally, write_shard

OPTIONS = plan.PackOptions(val_fraction=0, shard_samples=4)


def here(shards: list[plan.ShardPlan], folder: Path, packing: plan.Packing, **more: object) -> Iterator[crew.Event]:
    """A runner without processes."""
    for one in shards:
        heard: list[object] = []
        try:
            done = write_shard(one, folder, packing, quarantine=bool(more["quarantine"]), tell=heard.append)
        except BadSample as error:
            heard.append(error)
        else:
            heard.append(done)
        yield from (crew.Event(0, what) for what in heard)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples are looked at without starting processes, but where a test takes `survey.look` back."""

    def look(entries: list[survey.Listed], packing: plan.Packing, workers: int) -> list[Seen]:
        return [survey.see(key, entry, packing) for key, entry in entries]

    monkeypatch.setattr(survey, "look", look)


def stored(samples: list[Sample], folder: Path, change: people.Change) -> Path:
    for sample in samples:
        people.store(change(sample), folder)
    return folder


@pytest.fixture(scope="module")
def zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two zips of 12 samples of 256 x 192 pixels; in much smaller ones slopes prove nothing."""
    folder = tmp_path_factory.mktemp("zips")
    for number in range(2):
        tiny_raw(folder / f"SynthHuman_{number:04}.zip", samples=12, first=12 * number, size=(256, 192))
    return folder


@pytest.fixture(scope="module")
def some(zips: Path) -> list[Sample]:
    return list(itertools.islice(synthhuman.samples(zips), 8))


WRONG: dict[str, tuple[people.Change, str]] = {
    "R and B exchanged": (lambda s: changed(s, normals=s.normals[..., ::-1]), "channels B and R, are exchanged"),
    "Y down": (lambda s: changed(s, normals=s.normals * np.array([1, -1, 1], np.float32)), "normals' Y points down"),
    "metres": (lambda s: changed(s, depth_cm=cm(s) / 100), "is it in metres"),
    "a background of 0": (
        lambda s: changed(s, depth_cm=np.where(s.depth_valid, cm(s), 0), valid=np.ones_like(s.depth_valid)),
        "is the background not 65504",
    ),
    "normals twice as long": (lambda s: changed(s, normals=s.normals * 2), "the median length is 2"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("on_bad", ["stop", "quarantine"])
def test_wrong_conventions_are_refused_before_a_shard_is_written(
    wrong: str, on_bad: str, some: list[Sample], tmp_path: Path
) -> None:
    change, told = WRONG[wrong]
    raw = stored(some, tmp_path / "raw", change)
    policy = build.BadPolicy.parse(on_bad, 1.0)
    with pytest.raises(
        DavidError, match=f"the raw data: .*{told}.*seen in 8 of 8 samples, spread over the set"
    ) as caught:
        build.build(raw, tmp_path / "shards", OPTIONS, bad=policy, runner=here)
    said, advice = str(caught.value).split("; nothing was packed: convert the raw data, and pack again")
    assert re.search(told, said) and len(said) < 400
    accepting = "" if "long" in wrong else r", or, if it is right .* --accept (depth|normals)"
    assert re.match(accepting + "; expected: unit normals", advice)
    assert not isinstance(caught.value, BadSample)
    assert not list((tmp_path / "shards").glob("*.tar"))


def test_a_set_that_turns_wrong_in_a_later_archive_is_stopped_and_names_it(
    zips: Path, some: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = tmp_path / "mixed"
    stored(list(synthhuman.samples(sorted(zips.glob("*.zip"))[1])), mixed, lambda s: changed(s, normals=-s.normals))
    (mixed / "first.zip").symlink_to(sorted(zips.glob("*.zip"))[0])
    with pytest.raises(DavidError, match=f"{mixed}: .* negated.*seen in 12 samples of it.* nothing was packed"):
        build.build(mixed, tmp_path / "shards", OPTIONS, runner=here)
    monkeypatch.setattr(survey, "chosen", lambda whole: [])  # as where no sample of it was looked at before
    heard: list[crew.Event] = []
    with pytest.raises(DavidError, match=f"{mixed}: .* negated.*seen in its latest 8 samples.*--restart"):
        build.build(mixed, tmp_path / "shards", OPTIONS, runner=here, hear=heard.append)
    tallies = Counter(event.what.seen.archive for event in heard if isinstance(event.what, Tally) and event.what.seen)
    assert tallies[mixed] == 8
    assert not (tmp_path / "shards" / manifest.NAME).exists()


def test_a_look_is_spread_evenly_over_all_archives() -> None:
    found = {}
    for number in range(9000):
        member = archive.Member(Path(f"{number // 150:02}.zip"), "x", 1, 1, 0, 1, 0)
        found[f"{number:07}"] = Entry({"rgb": member})
    entries = survey.chosen(plan.plan(found, plan.PackOptions()))
    per_archive = Counter(entry.archive for _, entry in entries)
    assert len(entries) == survey.MOST
    assert len(per_archive) == 60
    assert set(per_archive.values()) <= {4, 5}
    few = plan.plan(dict(itertools.islice(found.items(), 20)), plan.PackOptions())
    assert sorted(key for key, _ in survey.chosen(few)) == sorted(found)[:20]


def test_a_set_is_looked_at_once_and_that_changes_no_byte(two_zips: Path, tmp_path: Path) -> None:
    told: list[str] = []
    for number in (1, 2):
        part = build.Part(number, 2)
        build.build(two_zips, tmp_path / "shards", OPTIONS, part=part, runner=here, say=told.append)
        if number == 1:
            Record(tmp_path / "shards").forget("train-000000")
            build.build(two_zips, tmp_path / "shards", OPTIONS, part=part, runner=here, say=told.append)
    assert len(told) == 1
    assert "looking at 24 of 24 samples first" in told[0]
    blind = tmp_path / "blind" / FOLDER
    blind.mkdir(parents=True)
    (blind / "conventions-all.json").write_text("{}")
    build.build(two_zips, tmp_path / "blind", OPTIONS, runner=here)
    assert [
        (path.name, path.read_bytes()) for path in sorted((tmp_path / "shards").iterdir()) if path.name != FOLDER
    ] == [(path.name, path.read_bytes()) for path in sorted((tmp_path / "blind").iterdir()) if path.name != FOLDER]


LOOK = survey.look


@pytest.mark.parametrize("fault", ["crashes", "hangs"])
def test_a_sample_that_crashes_or_hangs_is_left_out_of_the_look(
    fault: str, two_zips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes are forked here, so that they inherit the broken decoder; patience with one that hangs ends once there
    is no other."""
    whole = plan.plan(synthhuman.SynthHuman().scan(two_zips), OPTIONS)
    entries = survey.chosen(whole)[:9]
    context = get_context("fork")
    hangs = context.Event()

    def broken(key: str, entry: Entry, packing: plan.Packing) -> Seen:
        if key != entries[2][0]:
            return Seen(entry.archive, None, key)
        if fault == "crashes":
            faulthandler.disable()  # pytest would print where
            os.kill(os.getpid(), signal.SIGSEGV)
        hangs.set()
        signal.pause()
        raise AssertionError

    def wait(pipes: list, timeout: float) -> list:
        while not (ready := connection.wait(pipes, 0.005)):
            if hangs.is_set() and len(pipes) == 1:
                hangs.clear()
                break
        return ready

    monkeypatch.setattr(survey, "see", broken)
    monkeypatch.setattr(type(context), "set_forkserver_preload", lambda *_: None)
    monkeypatch.setattr(survey, "get_context", lambda _: context)
    monkeypatch.setattr(survey.cv2, "setNumThreads", lambda _: None)  # hangs in a fork of a process that used them
    monkeypatch.setattr(survey, "connection", SimpleNamespace(wait=wait))
    seen = LOOK(entries, whole.packing, 2)
    assert sorted(one.reason for one in seen) == sorted(key for key, _ in entries if key != entries[2][0])


def test_looking_in_processes_sees_what_is_there(two_zips: Path) -> None:
    whole = plan.plan(synthhuman.SynthHuman().scan(two_zips), OPTIONS)
    entries = survey.chosen(whole)[:4]
    seen = LOOK(entries, whole.packing, 2)
    assert len(seen) == 4
    assert all(one.evidence and one.evidence.valid_share > 0.1 for one in seen)


@pytest.fixture(params=["synthetic", "real"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Loose samples of every oddity there is, four plain ones, and which is which."""
    folder = request.getfixturevalue({"synthetic": "raw", "real": "samples_dir"}[request.param])
    persons = list(itertools.islice(synthhuman.samples(folder), 2))
    named = {name: f"{number:07}" for number, name in enumerate(people.ODD)}
    for number, (name, change) in enumerate(people.ODD.items()):
        people.store(changed(change(persons[number % 2]), key=named[name]), tmp_path / "odd")
    for number in range(4):
        people.store(changed(persons[number % 2], key=f"1{number:06}"), tmp_path / "odd")
    return tmp_path / "odd", named


def test_the_oddest_samples_pack_and_are_counted(odd: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    raw, named = odd
    written = build.build(raw, tmp_path / "shards", plan.PackOptions(val_fraction=0), runner=here)
    assert written is not None
    assert written.quarantined == []
    assert verify.verify(tmp_path / "shards", deep=True, workers=1)[1] == []
    back = {sample.key: sample for sample in read(tmp_path / "shards")}
    assert set(named.values()) < set(back)
    for name, key in named.items():
        assert back[key].normals_valid.any(), name
    assert np.array_equal(back["1000000"].depth_valid, back["1000000"].normals_valid)
    assert (
        Report.from_json(written.report).odd.items()
        >= {
            "depth_not_finite": (1, 8),
            "depth_not_positive": (1, 16),
            "normals_not_unit": (1, 77),
            "normals_not_finite": (1, 500),
        }.items()
    )
    counted = Report.from_json(written.report).odd
    assert counted["normals_zero"][0] == 2
    assert counted["depth_outlying"][0] >= 1
    assert counted["full_frame"][0] == 1
    assert counted["few_pixels"][0] == 2  # of 300 pixels, and a flat wall
    assert counted["against_slopes"][0] >= 1
    assert counted["facing_away"][0] >= 1
    assert counted["alpha_missing"][0] == 2
    page = (tmp_path / "shards" / report_page.NAME).read_text()
    assert all(text in page for text in (report_page.ODD["normals_zero"], report_page.ODD["full_frame"]))


def test_reports_of_sets_packed_before_are_still_shown(shards: Path, tmp_path: Path) -> None:
    old = manifest.load(shards)
    content = json.loads(json.dumps(old.report))
    del content["odd"]
    content["evidence"]["normals_worst_length"] = content["evidence"]["valid_share"]
    dataset = replace(old, folder=tmp_path, report=content)
    figures, precision = report_page.tables(dataset)
    assert figures.row_count == len(content["evidence"])
    assert precision.row_count > 0
    assert "normals_worst_length" in report_page.write(dataset).read_text()


def test_a_sample_without_depth_is_named_with_its_pixels_and_the_way_out(some: list[Sample], tmp_path: Path) -> None:
    raw = stored(some, tmp_path / "raw", lambda s: s)
    nowhere = np.zeros_like(some[3].depth_valid)
    people.store(changed(some[3], valid=nowhere), raw)
    with pytest.raises(BadSample, match="sample 0000003: none of its 49,152 pixels has a depth.*--on-bad quarantine"):
        build.build(raw, tmp_path / "shards", OPTIONS, runner=here)
    (raw / "alpha_0000003.png").unlink()
    with pytest.raises(BadSample, match="sample 0000003: alpha missing .*--on-bad quarantine"):
        build.build(raw, tmp_path / "other", OPTIONS, runner=here)
    policy = build.BadPolicy(quarantine=True)  # one of eight is more than 1 %
    written = build.build(raw, tmp_path / "shards", OPTIONS, bad=policy, runner=here, restart=True)
    assert written is not None
    assert [one["id"] for one in written.quarantined] == ["0000003"]
    assert "--on-bad" not in written.quarantined[0]["reason"]


@pytest.mark.parametrize(
    ("share", "set_aside", "samples", "allowed"),
    [
        *[(None, 1, 2, True), (None, 2, 2, False), (None, 1, 24, True), (None, 10, 24, True), (None, 11, 24, False)],
        *[(None, 10, 300, True), (None, 11, 300, False), (None, 100, 10_000, True), (None, 101, 10_000, False)],
        *[(0.0, 1, 10_000, False), (0.01, 1, 24, False), (0.1, 2, 24, True), (1.0, 24, 24, True)],
    ],
)
def test_a_few_bad_samples_never_stop_a_quarantine_but_a_share_does(
    share: float | None, set_aside: int, samples: int, allowed: bool
) -> None:
    assert build.BadPolicy(True, share).allows(set_aside, samples) == allowed
