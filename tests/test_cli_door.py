"""The one door that everything which goes wrong comes out of: a sentence and an exit code, never a traceback."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from david import cli
from david.pack import DavidError
from david.train.signals import Stopped

# A finder that, when `module` is about to be imported, sends this very process a Ctrl-C; where `swallowed`, the import
# makes another error of it, as libraries in C do.
INTERRUPTED_IMPORT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                if {swallowed}:
                    raise ImportError("numpy._core.multiarray failed to import") from None
                raise
sys.meta_path.insert(0, Finder())
sys.argv = ["david", *{words}]
from david.cli import main
main()
"""


def leaves(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException) -> tuple[int, str]:
    """Exit code and what was said of a command that ends with `error`."""

    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "command_line", lambda: command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capfd.readouterr()
    assert said.out == "" and isinstance(end.value.code, int)
    return end.value.code, said.err


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EIO, errno.ENAMETOOLONG]
)
def test_an_error_of_the_system_is_a_sentence_with_path_and_reason(number: int, monkeypatch, capfd) -> None:
    code, said = leaves(monkeypatch, capfd, OSError(number, os.strerror(number), "/data/x"))
    assert code == 1
    assert said.startswith(f"david: /data/x: {os.strerror(number)}")
    assert said.count("\n") == 1


def test_a_training_that_was_stopped_in_any_command_is_a_sentence(monkeypatch, capfd) -> None:
    told = "q/run: stopped by a signal and saved after step 12; the same command goes on"
    assert leaves(monkeypatch, capfd, Stopped(told)) == (75, f"david: {told}\n")


def test_a_full_disk_without_a_path_is_a_sentence_too(monkeypatch, capfd) -> None:
    code, said = leaves(monkeypatch, capfd, OSError(errno.ENOSPC, "No space left on device"))
    assert code == 1
    assert said.startswith("david: No space left on device; make room")


def test_no_place_for_temporary_files_is_a_sentence_with_what_to_do(monkeypatch, capfd) -> None:
    code, said = leaves(monkeypatch, capfd, FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"))
    assert code == 1 and said.count("\n") == 1
    assert (
        said == "david: No usable temporary directory found in ['/tmp']; set TMPDIR to a folder that can be written\n"
    )


def test_a_mistake_of_our_own_keeps_its_traceback(monkeypatch, capfd) -> None:
    monkeypatch.setattr(cli, "command_line", lambda: lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_names_from_outside_move_no_cursor(monkeypatch, capfd) -> None:
    code, said = leaves(monkeypatch, capfd, DavidError("a\x1b[2Jb [red]c :fire: \udcff: not there"))
    assert code == 2
    assert said == "david: a\\x1b[2Jb [red]c :fire: \\udcff: not there\n"


def test_a_folder_that_cannot_be_made_is_said(raw: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "david.cli", "view", raw, "--count", "1", "--out", "/proc/nowhere/gallery.html"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("david: /proc/nowhere")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("module", ["typer", "numpy", "david.pack.commands", "torch"])
def test_ctrl_c_while_modules_are_imported(module: str, swallowed: bool, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").touch()
    words = ["replay", "--bundle", str(tmp_path)]  # needs torch at once
    code = INTERRUPTED_IMPORT.format(module=module, swallowed=swallowed, words=words)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert done.stderr == "david: interrupted\n"


def test_an_ignored_ctrl_c_stays_ignored(monkeypatch, capfd) -> None:
    """As of jobs that a shell runs in the background."""
    monkeypatch.setattr(cli, "command_line", lambda: lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit) as end:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not end.value.code and capfd.readouterr().err == ""


@pytest.mark.parametrize("words", [["--help"], ["recipes"]])
def test_a_reader_that_goes_early_is_no_error(words: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "david.cli", *words]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_output_that_is_full_is_said(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "david.cli", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("david: No space left on device")
    assert done.stderr.count("\n") == 1
