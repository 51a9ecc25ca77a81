"""Files are whole or absent, whoever writes them, however many at once, and whenever the power goes."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import power_cut
import pytest

from david.pack import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writers_of_one_file_at_once_leave_one_of_theirs(tmp_path: Path) -> None:
    path, barrier, failed = tmp_path / "a", threading.Barrier(4), []

    def write(data: bytes) -> None:
        try:
            for _ in range(15):
                barrier.wait()
                files.write_whole(path, data)
                assert len(set(path.read_bytes())) == 1
        except BaseException as error:
            failed.append(error)
            barrier.abort()

    threads = [threading.Thread(target=write, args=(bytes([n]) * 10_000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert names(tmp_path) == ["a"]


def test_what_a_kill_left_is_taken_away_and_a_living_writer_keeps_its_own(tmp_path: Path) -> None:
    path = tmp_path / "a"
    code = (
        "import os, pathlib, signal, sys; from david.pack import files\n"
        "with files.whole(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'), file.flush(), os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    (tmp_path / ".a.idx.0123456789abcdef.part").touch()  # of another file
    with files.whole(path) as file:
        file.write(b"first")
        assert left not in names(tmp_path)
        files.write_whole(path, b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == [".a.idx.0123456789abcdef.part", "a"]


def test_a_sweep_between_naming_and_locking_costs_a_writer_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, times = files.fcntl.flock, []

    def swept(handle: int, how: int) -> None:
        if how == files.fcntl.LOCK_EX and not times:
            times.append(1)
            files.sweep(tmp_path / "a")
        lock(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", swept)
    files.write_whole(tmp_path / "a", b"all")
    assert times and names(tmp_path) == ["a"]


def test_a_folder_that_goes_while_it_is_made_is_made_again_and_a_file_in_its_way_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_dir = tmp_path / "folder", Path.is_dir
    folder.mkdir()

    def gone(path: Path) -> bool:
        if path == folder and folder.exists():
            folder.rmdir()
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", gone)
    files.make_folder(folder)
    monkeypatch.undo()
    assert folder.is_dir()
    for name, make in (("file", lambda path: path.touch()), ("link", lambda path: path.symlink_to("nowhere"))):
        make(tmp_path / name)
        with pytest.raises(FileExistsError, match=name):
            files.make_folder(tmp_path / name)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_files_are_written_and_nobody_elses_is_taken(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.fcntl, "flock", none)
    (tmp_path / ".a.0123456789abcdef.part").touch()
    files.write_whole(tmp_path / "a", b"all")
    assert names(tmp_path) == [".a.0123456789abcdef.part", "a"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"can't be written \(No such file or directory\): '.*/nowhere/a'"):
        files.write_whole(tmp_path / "nowhere" / "a", b"")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"\(No space left on device\): '.*/a'"):
        files.write_whole(tmp_path / "a", b"")
    assert names(tmp_path) == []


def test_reads_that_bring_less_than_was_asked_for_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over FUSE: seven bytes at a time, and an end of the file in the midst of the last."""
    read, data, into = os.preadv, bytes(range(256)) * 4, bytearray(1100)
    monkeypatch.setattr(os, "preadv", lambda handle, into, offset: read(handle, [into[0][:7]], offset))
    (tmp_path / "a").write_bytes(data)
    with (tmp_path / "a").open("rb") as file:
        assert files.fill(file.fileno(), memoryview(into), 100) == len(data) - 100
        assert into[: len(data) - 100] == data[100:]
        assert files.fill(file.fileno(), memoryview(into)[:50], 3) == 50
        assert into[:50] == data[3:53]


def test_a_power_cut_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"old")
    seen = set()
    for cut in power_cut.cuts(folder, lambda: files.write_whole(folder / "a", b"new")):
        seen.add((cut.lay(tmp_path / "after") / "a").read_bytes())
        assert seen <= {b"old", b"new"}, cut.when
        files.write_whole(tmp_path / "after" / "a", b"next")
        assert names(tmp_path / "after") == ["a"], cut.when
    assert seen == {b"old", b"new"}
    assert cut.files == {"a": b"new"}


def test_the_simulator_sees_what_careless_writers_lose(tmp_path: Path) -> None:
    """Twins of `write_whole`, each without one of its steps."""

    def unsynced(path: Path) -> None:
        path.with_name("part").write_bytes(b"new!")
        path.with_name("part").replace(path)
        files.sync(path.parent)

    def unnamed(path: Path) -> None:
        with path.open("wb") as file:
            file.write(b"new!")
            file.flush()
            os.fsync(file.fileno())

    def unsynced_folder(path: Path) -> None:
        path.with_name("part").write_bytes(b"new!")
        files.sync(path.with_name("part"))
        path.with_name("part").replace(path)

    found = []
    for number, careless in enumerate((unsynced, unnamed, unsynced_folder)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a").write_bytes(b"old")
        states = list(power_cut.cuts(folder, lambda: careless(folder / "a")))  # noqa: B023
        found.append(({state.files.get("a") for state in states}, states[-1].files.get("a")))
    assert found[0][0] == {b"old", b"", b"ne", b"new!", bytes(4)}
    assert found[1][0] >= {b"old", b"", b"ne", b"new!"}
    assert found[2][0] == {b"old", b"new!"}


def test_the_simulator_knows_folders_appends_and_removals(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "log").write_bytes(b"one.")

    def work() -> None:
        with (folder / "log").open("ab") as log:
            log.write(b"two.")
            log.flush()
            (folder / "inner").mkdir()
            files.write_whole(folder / "inner" / "a", b"x")
            os.fsync(log.fileno())
        files.sync(folder)
        (folder / "inner" / "a").unlink()

    states = [cut.files for cut in power_cut.cuts(folder, work)]
    assert {state["log"] for state in states} == {b"one.", b"one.tw", b"one.two.", b"one.\0\0\0\0"}
    assert {"log": b"one."} in states  # the folder was never synced: all in it is gone
    assert {"log": b"one.two.", "inner/a": b"x"} in states
    assert {"log": b"one.two."} in states


def test_the_simulator_knows_writes_in_place_and_files_apart(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "data").write_bytes(b"older bytes")
    (folder / "log").write_bytes(b"begun.")

    def work() -> None:
        with (folder / "data").open("r+b") as data, (folder / "log").open("ab") as log:
            data.seek(6)
            data.write(b"BYTE")
            data.flush()
            log.write(b"done.")
            log.flush()

    found = {(cut.files["data"], cut.files["log"]) for cut in power_cut.cuts(folder, work)}
    assert {data for data, _ in found} >= {b"older bytes", b"older BYtes", b"older BYTEs", b""}
    assert {(b"older bytes", b"begun.done."), (b"older BYTEs", b"begun.")} <= found
