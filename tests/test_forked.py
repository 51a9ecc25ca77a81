"""Processes that tests fork instead of starting them are as those that are started."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path

import forked
import pytest

TELLS = """
import atexit, json, os, signal, subprocess, sys

atexit.register(print, "at the end")
print("said", file=sys.stderr)
started = subprocess.run([sys.executable, "-c", "import os; print(os.getppid())"], capture_output=True, text=True)
print(json.dumps({
    "called": [sys.argv, sys.orig_argv, __name__, vars(sys.modules["__main__"]) is globals()],
    "shown": open("/proc/self/cmdline").read().rstrip(chr(0)).split(chr(0)),
    "streams": [(s.encoding, s.errors, s.fileno(), s.line_buffering) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "read": sys.stdin.read(),
    "environment": dict(os.environ),
    "place": [os.getcwd(), sys.path[0], os.getppid()],
    "group": [os.getpgrp() == os.getpid(), os.getpgrp() == os.getpgid(os.getppid()), os.getsid(0) == os.getpid()],
    "signals": [str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD)],
    "parent of what it starts": int(started.stdout) == os.getpid(),
}))
raise SystemExit(7)
"""


@pytest.mark.parametrize("new_session", [False, True])
def test_a_forked_process_is_as_one_that_was_started(new_session: bool, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "OWN": "ä", "OMP_NUM_THREADS": "1"}
    found = []
    for way in (nullcontext(), forked.forking()):
        with way:
            done = subprocess.run(
                [sys.executable, "-c", TELLS, "a b", "--c"],
                **{"input": "given", "capture_output": True, "text": True},
                **{"cwd": tmp_path, "env": environment, "start_new_session": new_session},
            )
        assert (done.returncode, done.stderr) == (7, "said\n"), done.stderr
        told, end = done.stdout.splitlines()
        found.append(json.loads(told))
        assert end == "at the end" and found[-1]["place"][2] == os.getpid()
    assert found[0] == found[1]


def test_a_module_is_run_as_python_does(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import sys\nprint(__name__, __spec__.name, sys.argv, sys.path[0])\n1 / 0\n")
    ends = []
    for way in (nullcontext(), forked.forking()):
        with way:
            command = [sys.executable, "-m", "own", "word"]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        ends.append((done.returncode, done.stdout, done.stderr.splitlines()[-3:]))
    assert ends[0] == ends[1] and ends[0][0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_takes_signals_and_its_end_is_known(number: signal.Signals) -> None:
    command = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]
    with forked.forking(), subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"here\n" and process.poll() is None
        process.send_signal(number)
        said = process.communicate()[1]
    assert process.returncode == -number and (b"KeyboardInterrupt" in said) == (number == signal.SIGINT)


def ends_with(codes: Sequence[int]) -> None:
    """In a process of its own: whether one that it starts by the same way ends with the next code."""
    assert "torch" in sys.modules
    if len(codes) > 1:
        process = get_context("spawn").Process(target=ends_with, args=(codes[1:],))
        process.start()
        process.join()
        assert process.exitcode == codes[1]
    raise SystemExit(codes[0])


def test_what_is_spawned_has_torch_and_so_has_what_it_spawns() -> None:
    with forked.forking():
        process = get_context("spawn").Process(target=ends_with, args=((3, 4),))
        process.start()
        process.join()
    assert process.exitcode == 3


def test_a_start_that_was_broken_off_leaves_no_answer_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server = forked.Server(ours)
    monkeypatch.setattr(forked, "FIRST", 0)  # where there is none, none is made
    monkeypatch.setattr(forked, "_own", server)
    assert forked._server() is server

    def late(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch, theirs, pytest.raises(TimeoutError):
        patch.setattr(socket, "send_fds", late)
        server.fork(["-c", "1"], {})
    assert server.ended and forked._server() is None
