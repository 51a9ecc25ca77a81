"""A pack can be killed, split, resumed and run twice: the set is the same, byte for byte."""

import contextlib
import errno
import faulthandler
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace

import pytest
import starters
from processes import of_session
from starters import contents

from david.pack import BadSample, DavidError, read
from david.pack.check import report, verify
from david.pack.look import report_page
from david.pack.raw import archive
from david.pack.shards import manifest, shard
from david.pack.sources import synthhuman
from david.pack.work import build, crew, plan, record, survey, worker

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=3)
CALL = ["--val-fraction", "0.25", "--shard-samples", "3", "--workers", "2"]


@pytest.fixture(scope="module")
def raw(two_zips: Path) -> Path:
    return two_zips


@pytest.fixture(scope="module")
def whole(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed pack writes: file name -> bytes."""
    folder = tmp_path_factory.mktemp("whole") / "shards"
    build.build(raw, folder, OPTIONS, workers=1)
    return contents(folder)


def david_pack(raw: Path, shards: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "david.cli", "pack", str(raw), str(shards), *CALL, *more]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def kill_group(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_pack_gives_the_same_bytes(raw: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """Killed twice while it runs; of one that was quicker than that another is begun."""
    shards, kills, moments = tmp_path / "shards", 0, random.Random(0)
    while kills < 2:
        process = david_pack(raw, shards)
        if starters.changes(process, shards, moments.randint(1, 6)):
            kills += 1
        else:
            shutil.rmtree(shards)
        kill_group(process)
    build.build(raw, shards, OPTIONS, workers=1)
    assert contents(shards) == whole


@pytest.mark.parametrize(("holder", "call"), [(os, "fsync"), (Path, "replace")], ids=["fsync", "replace"])
def test_killed_at_each_fsync_and_rename_gives_the_same_bytes(
    holder: object, call: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th call kills its own process, before or after it is done by turns, for every third n there is."""
    monkeypatch.setattr(worker, "_encode", starters.small)
    monkeypatch.setattr(survey, "begin", lambda *_: None)
    monkeypatch.setattr(report_page, "_thumbnails", lambda _: "")
    few, original = sorted(raw.glob("*.zip"))[0], getattr(holder, call)

    def dies(n: int, shards: Path) -> None:
        calls = itertools.count()

        def counted(*args: object) -> object:
            number = next(calls)
            done = original(*args) if number != n or n % 2 else None
            if number == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(holder, call, counted)
        starters.packs(few, shards)()

    starters.packs(few, tmp_path / "undisturbed")()
    expected, kills = contents(tmp_path / "undisturbed"), 0
    for n in itertools.count(0, 3):
        shards = tmp_path / str(n)
        process = multiprocessing.get_context("fork").Process(target=dies, args=(n, shards))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        starters.packs(few, shards)()
        assert contents(shards) == expected, f"killed at {call} {n}"
        shutil.rmtree(shards)
    assert kills > 5


def test_parts_in_any_order_give_the_same_bytes(raw: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    for number in (3, 1, 2):
        with pytest.raises(DavidError, match="nothing was packed there|shards are missing"):
            build.merge(shards)
        written = build.build(raw, shards, OPTIONS, part=build.Part(number, 3), workers=1)
        assert (written is None) == (number != 2)
    assert contents(shards) == whole


def test_other_options_or_raw_data_are_refused_with_both_values(raw: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    build.build(raw, shards, OPTIONS, part=build.Part(1, 2), workers=1)
    with pytest.raises(DavidError, match="seed is 0 there and 1 now"):
        build.build(raw, shards, plan.PackOptions(val_fraction=0.25, shard_samples=3, seed=1))
    one_zip = sorted(raw.glob("*.zip"))[0]
    with pytest.raises(
        DavidError, match="the raw data is 24 samples in 2 archives .* there and 12 samples in 1 archive "
    ):
        build.build(one_zip, shards, OPTIONS)
    build.build(one_zip, shards, OPTIONS, restart=True, workers=1)
    assert sum(manifest.load(shards).samples(split) for split in ("train", "val")) == 12
    with pytest.raises(DavidError, match="the raw data is 12 samples"):
        build.build(raw, shards, OPTIONS)


def test_a_shard_that_changed_since_is_written_again(raw: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    build.build(raw, shards, OPTIONS, part=build.Part(1, 2), workers=1)
    tar = sorted(shards.glob("*.tar"))[0]
    data = bytearray(tar.read_bytes())
    data[5000] ^= 1
    tar.write_bytes(data)
    sorted(shards.glob("*.idx"))[1].unlink()
    begun = []
    build.build(raw, shards, OPTIONS, part=build.Part(1, 2), workers=1, planned=lambda _, done: begun.extend(done))
    build.build(raw, shards, OPTIONS, workers=1)
    assert len(begun) == len(plan.plan(synthhuman.SynthHuman().scan(raw), OPTIONS).shards[::2]) - 2
    assert contents(shards) == whole


def test_two_packs_at_once_do_not_meet(raw: Path, tmp_path: Path) -> None:
    with record.Record(tmp_path).claim("all", 1, 1), pytest.raises(DavidError, match="another david pack is at work"):
        build.build(raw, tmp_path, OPTIONS)


def test_processes_that_start_together_make_one_set(tmp_path: Path) -> None:
    """Nothing is replaced here: decoding, fsync and locks are those of any two jobs on a machine."""
    raw = starters.tiny_raw(tmp_path / "raw.zip", samples=4)
    ready = starters.parts_without_end(raw, tmp_path / "ready" / "shards")
    alone = Path(shutil.copytree(ready, tmp_path / "alone" / "shards"))
    build.merge(alone)
    with starters.Server() as server:
        for pair in starters.PAIRS:
            shards = tmp_path / " ".join(pair).replace("/", "-") / "shards"
            shutil.copytree(ready, shards) if "merge" in pair else starters.note_conventions(shards)
            outcomes = server.round(pair, raw, shards)
            assert all(one in ("set", "no set yet") or starters.understood(one) for one in outcomes), outcomes
            starters.packs(raw, shards)()
            assert contents(shards) == contents(alone), pair


def loose(raw: Path, folder: Path) -> Path:
    """The first zip's samples as loose files in `folder`."""
    folder.mkdir()
    for member in archive.members(sorted(raw.glob("*.zip"))[0]):
        (folder / Path(member.name).name).write_bytes(archive.read(member))
    return folder


@pytest.fixture
def spoilt(raw: Path, tmp_path: Path) -> Path:
    """The first zip's samples as loose files, three of them bad: a cut PNG, an EXR of noise, normals negated."""
    folder = loose(raw, tmp_path / "spoilt")
    png = folder / "rgb_0000002.png"
    png.write_bytes(png.read_bytes()[:500])
    (folder / "depth_0000005.exr").write_bytes(b"v/1\x01 and then noise")
    (folder / "alpha_0000007.png").write_bytes((folder / "rgb_0000007.png").read_bytes()[:40])
    return folder


def test_a_sample_without_a_member_is_quarantined_too(spoilt: Path, tmp_path: Path) -> None:
    (spoilt / "depth_0000003.exr").unlink()
    (spoilt / "more").mkdir()
    (spoilt / "more" / "cam_0000004.txt").write_text("1 0 0 0 1 0 0 0 1")
    with pytest.raises(BadSample, match="sample 0000003: depth missing"):
        build.build(spoilt, tmp_path / "shards", OPTIONS)
    policy = build.BadPolicy(quarantine=True, max_share=0.5)
    written = build.build(spoilt, tmp_path / "shards", OPTIONS, bad=policy, workers=1)
    assert written is not None
    reasons = {one["id"]: one["reason"] for one in written.quarantined}
    assert sorted(reasons) == ["0000002", "0000003", "0000004", "0000005", "0000007"]
    assert "depth missing" in reasons["0000003"]
    assert "cam is there twice" in reasons["0000004"]
    assert verify.verify(tmp_path / "shards", workers=1)[1] == []


def test_a_bad_sample_stops_the_pack_with_its_name(spoilt: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=r"0000002|0000005|0000007"):
        build.build(spoilt, tmp_path / "shards", OPTIONS, workers=2)
    assert not list(tmp_path.glob("shards/.*.part"))
    with pytest.raises(DavidError, match="samples are bad, more than 10.00%"):
        build.build(spoilt, tmp_path / "shards", OPTIONS, bad=build.BadPolicy(True, 0.1), workers=1)


def test_quarantine_is_listed_and_the_same_for_any_number_of_workers(spoilt: Path, tmp_path: Path) -> None:
    policy = build.BadPolicy(quarantine=True, max_share=0.5)
    for workers in (1, 2):
        build.build(spoilt, tmp_path / f"shards{workers}", OPTIONS, bad=policy, workers=workers)
    assert contents(tmp_path / "shards1") == contents(tmp_path / "shards2")
    written = manifest.load(tmp_path / "shards1")
    assert sorted(one["id"] for one in written.quarantined) == ["0000002", "0000005", "0000007"]
    assert all(one["reason"] for one in written.quarantined)
    packed = {sample.key for split in ("train", "val") for sample in read(tmp_path / "shards1", split)}
    assert packed == set(synthhuman.scan(spoilt)) - {"0000002", "0000005", "0000007"}


def test_the_terminal_shows_davids_words_on_bad_samples_and_no_librarys(raw: Path, tmp_path: Path) -> None:
    folder = loose(raw, tmp_path / "spoilt")
    png = folder / "rgb_0000002.png"
    data = bytearray(png.read_bytes())
    data[len(data) // 2] ^= 255  # libpng remarks on a wrong checksum
    png.write_bytes(data)
    command = [sys.executable, "-m", "david.cli", "pack", str(folder), str(tmp_path / "shards")]
    quarantine = ["--on-bad", "quarantine", "--max-bad", "0.5", "--no-progress", "--workers", "1"]
    done = subprocess.run([*command, *quarantine], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "libpng" not in done.stdout + done.stderr
    assert len(manifest.load(tmp_path / "shards").quarantined) == 1


@pytest.mark.parametrize("fault", ["crashes", "hangs"])
@pytest.mark.parametrize("quarantine", [True, False])
def test_a_decoder_that_crashes_or_hangs_costs_one_sample(
    fault: str, quarantine: bool, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are forked here, so that they inherit the broken decoder. Eleven days go by with each that hangs, once
    all is heard that was said before."""
    decode, victim = synthhuman.decode, sorted(synthhuman.scan(raw))[4]
    hangs, days = multiprocessing.get_context("fork").Value("i", 0), [0]

    def broken(key: str, *rest: object) -> object:
        if key != victim:
            return decode(key, *rest)  # type: ignore[arg-type]
        if fault == "crashes":
            faulthandler.disable()  # pytest would print where
            os.kill(os.getpid(), signal.SIGSEGV)
        hangs.value += 1
        signal.pause()

    def wait(pipes: list, timeout: float) -> list:
        ready = connection.wait(pipes, 0.005)
        days[0] += not ready and hangs.value > days[0]
        return ready

    monkeypatch.setattr(synthhuman, "decode", broken)
    forked(monkeypatch)
    monkeypatch.setattr(crew, "connection", SimpleNamespace(wait=wait, Connection=connection.Connection))
    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: days[0] * 1e6))
    policy, workers = build.BadPolicy(quarantine, max_share=0.5), 1 if fault == "hangs" else 2
    if not quarantine:
        with pytest.raises(BadSample, match=f"sample {victim}: brought 2 workers down"):
            build.build(raw, tmp_path / "shards", OPTIONS, bad=policy, workers=workers)
        return
    written = build.build(raw, tmp_path / "shards", OPTIONS, bad=policy, workers=workers)
    assert written is not None
    assert [one["id"] for one in written.quarantined] == [victim]
    told = {"crashes": "SIGSEGV", "hangs": f"nothing heard for {crew.PATIENCE_S:.0f} s"}
    assert told[fault] in written.quarantined[0]["reason"]
    assert sum(written.samples(split) for split in ("train", "val")) == 23


def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from this process; OpenCV's threads are not, and asking them to go would wait for them."""
    monkeypatch.setattr(crew, "get_context", lambda _: Forking())
    monkeypatch.setattr(crew.cv2, "setNumThreads", lambda _: None)


def test_a_disk_slower_than_every_patience_accuses_nobody(
    raw: Path, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fsync ends only after the crew has looked in vain twice, and each look comes eleven days later."""
    forked(monkeypatch)
    context, parent = multiprocessing.get_context("fork"), os.getpid()
    syncing, released = context.Event(), context.Event()
    looks = [0]

    def wait(pipes: list, timeout: float) -> list:
        ready = connection.wait(pipes, 0.005)
        if not ready and syncing.is_set():
            looks[0] += 1
            if looks[0] % 2 == 0:
                released.set()
        return ready

    def fsync(_: int) -> None:
        if os.getpid() != parent:
            syncing.set()
            released.wait()
            released.clear()
            syncing.clear()

    monkeypatch.setattr(crew, "connection", SimpleNamespace(wait=wait, Connection=connection.Connection))
    monkeypatch.setattr(crew, "time", SimpleNamespace(monotonic=lambda: looks[0] * 1e6))
    monkeypatch.setattr(os, "fsync", fsync)
    begun = []
    build.build(raw, tmp_path / "shards", OPTIONS, workers=1, hear=lambda event: begun.append(event.what))
    assert contents(tmp_path / "shards") == whole
    assert sum(isinstance(what, worker.Start) for what in begun) == 24
    told = "\n".join(what.told for what in begun if isinstance(what, crew.Waits))
    assert f"waiting for the disk for 60 s, to write {tmp_path / 'shards'}" in told


@pytest.mark.parametrize("error", [BadSample("x.zip, sample 7", "noise"), OSError(errno.EROFS, "read only", "x.tar")])
def test_a_crew_ends_with_the_error_that_it_tells(
    error: Exception, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever takes all of its events, as a Ray task does, comes to an end."""

    def fails(*_: object) -> None:
        raise error

    forked(monkeypatch)
    monkeypatch.setattr(worker, "_encode", fails)
    planned = plan.plan(synthhuman.SynthHuman().scan(raw), OPTIONS)
    *_, last = crew.run(list(planned.shards), tmp_path, planned.packing, quarantine=False, workers=2)
    assert type(last.what) is type(error)
    assert str(last.what) == str(error)


class Forking:
    """A fork context that knows nothing of a forkserver's preload."""

    def __init__(self) -> None:
        import multiprocessing

        self.context = multiprocessing.get_context("fork")
        self.Pipe, self.Process = self.context.Pipe, self.context.Process

    def set_forkserver_preload(self, _: list[str]) -> None:
        pass


def test_a_full_disk_is_said_and_can_be_gone_on_from(raw: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk]).returncode:
        pytest.skip("a small tmpfs needs the right to mount")
    try:
        process = david_pack(raw, disk / "shards")
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "shards/" in output and "No space left on device" in output
        assert "Traceback" not in output
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        build.build(raw, disk / "shards", OPTIONS, workers=1)
        assert contents(disk / "shards") == whole
    finally:
        subprocess.run(["umount", disk], check=True)


def test_ctrl_c_ends_cleanly(raw: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    """SIGINT comes when one shard is done and the workers are at others."""
    source = """
import signal, sys
from david import cli
from david.pack.work import crew
from david.pack.work.record import Done
original = crew.run
def stopped_after_one(*args, **how):
    for event in original(*args, **how):
        yield event
        if isinstance(event.what, Done):
            print("one is done", flush=True)
            signal.pause()
crew.run = stopped_after_one
cli.main()
"""
    command = [sys.executable, "-c", source, "pack", str(raw), str(tmp_path / "shards"), *CALL]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    before = list(itertools.takewhile(lambda line: line != "one is done\n", process.stdout))
    process.send_signal(signal.SIGINT)
    after, _ = process.communicate()
    output = "".join(before) + after
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert not list((tmp_path / "shards").glob(".*.part"))
    while of_session(process.pid):  # the workers' server ends by itself, once its parent is gone
        time.sleep(0.01)
    build.build(raw, tmp_path / "shards", OPTIONS, workers=1)
    assert contents(tmp_path / "shards") == whole


def test_sigterm_ends_a_pack_with_a_sentence_and_its_workers(
    raw: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    process = david_pack(raw, tmp_path / "shards")
    while not list((tmp_path / "shards").glob(".*.part")) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "told to end (SIGTERM); the same command goes on" in output and "Traceback" not in output
    assert not list((tmp_path / "shards").glob(".*.part"))
    build.build(raw, tmp_path / "shards", OPTIONS, workers=1)
    assert contents(tmp_path / "shards") == whole


def test_the_report_adds_up(raw: Path, tmp_path: Path) -> None:
    written = build.build(raw, tmp_path / "shards", OPTIONS, workers=2)
    assert written is not None
    table = written.report["evidence"]
    assert all(sum(table[name]["counts"]) == 24 for name in ("valid_share", "median_m", "normals_face_camera"))
    assert written.report["measured"] == sum(plan.one_in(report.PRECISION_EVERY, key) for key in synthhuman.scan(raw))
    assert json.loads((tmp_path / "shards" / manifest.NAME).read_bytes())["report"] == written.report
    for one in written.split("train"):
        assert shard.intact(tmp_path / "shards", one)
