"""Python processes forked from one that has imported what is slow: torch, timm, DALI and david.

    with forked.forking():  # or a test that uses the fixture `warm`
        subprocess.run([sys.executable, "-m", "david.cli", "info", SHARDS], capture_output=True, text=True, cwd=FOLDER)

Meanwhile what this process starts by `subprocess` as `python -m MODULE ...` or `python -c CODE ...`, and by
`multiprocessing`'s `spawn`, saves the 3 to 7 s of CPU that imports take; and so does what such a process starts in its
turn, also as a forkserver: ranks of `--nproc` and of torchrun, workers of `david pack`. Nothing else changes: it is a
child of whoever started it, may be waited for, signalled and killed, and has what a fresh interpreter has: streams,
environment, folder, session and group of processes, `sys.argv`, `__main__`, command line, signals as they come,
and `atexit`.

Not its own are its modules, so a test of what is imported, or when, starts its process without this; what they read of
the environment as they were imported (HF_HOME), which is that of the first start; the seed of `hash`; and the memory
that it shares, some 500 MB, which `ru_maxrss` counts. At its end Python takes nothing apart. Starts with `preexec_fn`,
`shell`, `executable` or `process_group` are as ever.

How: a server, made when it is first asked, imports, and then does nothing, in one thread, but fork twice for each
start. The process between ends at once, and its child goes to the nearest ancestor that wants it, which is, for that
moment, whoever asked. Linux alone has that. What is forked has a server of its own, forked before it began.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import util
from pathlib import Path
from typing import Any
from unittest import mock

IMPORTED = [
    *("david.cli", "david.pack.commands", "david.train.loop", "david.train.writers.to_tensorboard", "timm"),
    *("nvidia.dali.fn", "nvidia.dali.types", "matplotlib.pyplot", "pytest"),
]
SUBREAPER = 36  # prctl's PR_SET_CHILD_SUBREAPER
FEW = 200  # files that a server has open
TITLE = 2000  # bytes that a process has to show its command in
FIRST = os.getpid()  # what it starts may start more in its turn


class Popen(subprocess.Popen):
    """`subprocess.Popen`, which forks where it can."""

    def _execute_child(
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, *more
    ) -> None:
        words = [] if isinstance(args, str | bytes | os.PathLike) else [os.fsdecode(word) for word in args]
        python = len(words) > 2 and words[0] == sys.executable and words[1] in ("-m", "-c")
        special = executable or preexec_fn or shell or more[-1] not in (None, -1)
        if not python or special or not (server := _server()):
            how = preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell
            return super()._execute_child(args, executable, *how, *more)
        pipes = more[:6]
        streams = {number: own if own != -1 else number for number, own in enumerate((pipes[0], pipes[3], pipes[5]))}
        handles = streams | {handle: handle for handle in pass_fds}
        self.pid = server.fork(words[1:], handles, cwd, env, new_session=more[-2])
        self._child_created = True
        self._close_pipe_fds(*pipes)


COLD = subprocess.Popen, util.spawnv_passfds


def _spawn(path: Any, args: Sequence[Any], passfds: Sequence[int]) -> int:
    """In place of `multiprocessing.util.spawnv_passfds`, which starts a process and returns its id."""
    words = [os.fsdecode(word) for word in args]
    words = words[words.index("-c") :]
    # a tracker imports next to nothing; a forkserver of the tests' own process outlives the test that first wants it
    cold = "resource_tracker" in words[1] or ("forkserver" in words[1] and os.getpid() == FIRST)
    if cold or not (server := _server()):
        return COLD[1](path, args, passfds)
    return server.fork(words, {int(handle): int(handle) for handle in (0, 1, 2, *passfds)})


@contextmanager
def forking(popen: type = Popen, spawn: Any = _spawn) -> Iterator[None]:
    """Meanwhile Python processes that this one starts are forked from one that has imported what is slow."""
    with mock.patch.object(subprocess, "Popen", popen), mock.patch.object(util, "spawnv_passfds", spawn):
        yield


class Server:
    """The near end of a process that forks those that are asked for; they become children of this process."""

    def __init__(self, end: socket.socket, process: subprocess.Popen | None = None) -> None:
        self.pid, self._end, self._process, self._lock = os.getpid(), end, process, threading.Lock()

    def fork(
        self,
        words: list[str],
        handles: dict[int, int],
        cwd: Any = None,
        environment: dict[str, str] | None = None,
        new_session: bool = False,
    ) -> int:
        """The new process's id. words: behind `python`; handles: ours, by the number that the process has each as"""
        asked = {
            "words": words,
            "handles": list(handles),
            "cwd": os.fsdecode(cwd or Path.cwd()),
            "environment": dict(os.environ if environment is None else environment),
            "group": None if new_session else os.getpgrp(),
            "starts": os.getpid() == FIRST,
        }
        prctl = ctypes.CDLL(None).prctl
        with self._lock:
            prctl(SUBREAPER, 1, 0, 0, 0)
            try:
                socket.send_fds(self._end, [json.dumps(asked).encode()], list(handles.values()))
                return int(self._end.recv(20))
            except ValueError as error:
                self._end.close()
                raise RuntimeError("the server has ended; what it said stands on the standard error stream") from error
            except BaseException:  # as when a test has taken too long: what comes later is no answer to the next
                self._end.close()
                raise
            finally:
                prctl(SUBREAPER, 0, 0, 0, 0)

    @property
    def ended(self) -> bool:
        return self._end.fileno() < 0


_own: Server | None = None


def _server() -> Server | None:
    """That of this process; None in what was forked by other ways, which has none."""
    global _own
    _own = None if _own and _own.ended else _own
    if _own is None and os.getpid() == FIRST:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-c", f"import forked; forked._begin({theirs.fileno()})", " " * TITLE]
            path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
            process = COLD[0](
                command,
                env=os.environ | {"PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # which a terminal's Ctrl-C does not reach
            )
        _own = Server(ours, process)
    return _own if _own and _own.pid == os.getpid() else None


def _begin(handle: int) -> None:
    """A server's own start."""
    before = dict(os.environ)
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as `david` does before torch is loaded
    for name in IMPORTED:
        importlib.import_module(name)
    os.environ.clear()
    os.environ.update(before)
    gc.collect()
    gc.freeze()  # a collection would write to all that is shared, and so copy it
    _become(*_serve(socket.socket(fileno=handle)))


def _serve(end: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork one for each that is asked for; returns in each of them, with what was asked."""
    while True:
        asked, handles, _, _ = socket.recv_fds(end, 1 << 20, FEW)
        if not asked:
            os._exit(0)  # whoever asks has ended
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            between = os.getpid()
            if os.fork():
                os._exit(0)
            while os.getppid() == between:
                time.sleep(0.0001)
            wanted = json.loads(asked)
            os.setsid() if wanted["group"] is None else os.setpgid(0, wanted["group"])
            os.write(writing, str(os.getpid()).encode())
            for handle in (reading, writing):
                os.close(handle)
            end.close()
            return wanted, handles
        for handle in (writing, *handles):
            os.close(handle)
        os.waitpid(between, 0)
        end.send(os.read(reading, 20))
        os.close(reading)


def _become(asked: dict[str, Any], handles: list[int]) -> None:
    """Run what was asked for as a fresh interpreter does."""
    aside = [fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, FEW) for handle in handles]
    for handle in handles:
        os.close(handle)
    for handle, number in zip(aside, asked["handles"], strict=True):
        os.dup2(handle, number)
        os.close(handle)
    if asked["starts"] and (end := _has_a_server(asked["handles"])):
        return _become(*_serve(end))
    os.chdir(asked["cwd"])
    kind, what, *words = asked["words"]
    _start_anew(asked["environment"], asked["words"])
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    sys.argv = [kind, *words]
    if kind == "-m":
        sys.path[0] = str(Path.cwd())
        sys.modules.pop(what, None)  # which runpy would warn of
        _run(partial(runpy._run_module_as_main, what))
    else:
        _run(partial(exec, compile(what, "<string>", "exec"), main.__dict__))


def _run(main: Callable[[], object]) -> None:
    """Call `main` and end as an interpreter does, but that it takes nothing apart: that costs seconds."""
    code, interrupted = 0, False
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        code, interrupted = 1, isinstance(error, KeyboardInterrupt)
        sys.excepthook(type(error), error, error.__traceback__)
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            code = 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code)


def _has_a_server(handles: list[int]) -> socket.socket | None:
    """Fork a server of this process; there, and only there, this returns, with the end that it serves."""
    global _own
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        _own, (subprocess.Popen, util.spawnv_passfds) = Server(ours), (Popen, _spawn)
        return None
    ours.close()
    os.setpgid(0, 0)  # it ends with the other, and not by a signal to the other's group
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in handles:
        os.dup2(nothing, number) if number < 3 else os.close(number)
    os.close(nothing)
    return theirs


def _start_anew(environment: dict[str, str], words: list[str]) -> None:
    """What an interpreter makes of its environment and streams, the seeds that it draws, and how it is called."""
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    now = [str(Path(one).absolute()) for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[1:] = [*now, *(one for one in sys.path[1:] if one not in before and one not in now)]
    threads = environment.get("OMP_NUM_THREADS")
    if threads and threads != os.environ.get("OMP_NUM_THREADS"):
        sys.modules["torch"].set_num_threads(int(threads))
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        how = {"encoding": old.encoding, "errors": old.errors, "closefd": False}
        new = os.fdopen(number, "w" if number else "r", buffering=1 if number == 2 else -1, **how)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)
    sys.modules["numpy"].random.seed()
    sys.orig_argv = [sys.executable, *words]
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    first, last = int(fields[45]), int(fields[46])  # where the system reads the command line
    if last - first > TITLE:
        said = b"\0".join(map(os.fsencode, sys.orig_argv))[:TITLE]
        ctypes.memmove(first, said.ljust(last - first, b"\0"), last - first)
