"""Work in a process of its own, with a limit: what hangs or dies there costs whoever waits nothing but that work.

The child runs a function named as `module:name`, which gets `tell` as its first argument and JSON's values by name;
whatever it tells comes back as JSON, a line each, on a pipe of its own, so that libraries may print what they like. The
child and all that it starts end with whoever waits, also where that is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError, shown
from david.pack.lazy import load

Tell = Callable[[Any], None]
END_S = 10.0  # that a child which has said its last word is given before it is ended
MOST_SAID = 300  # characters of an error's first line


class Failed(Exception):
    """The work failed, and the child is gone or of no more use: in one sentence."""


class Cut(Failed):
    """Nothing came within the limit, and the child was ended."""


class Child(AbstractContextManager):
    """A child at work. log: gets what it prints; without one that is kept only as long as it runs"""

    def __init__(self, place: str, arguments: dict[str, Any], log: Path | None = None):
        reading, writing = os.pipe()
        self._printed = log.open("ab+") if log else _nowhere_else()
        path = os.pathsep.join(str(Path(one).absolute()) for one in sys.path if one)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "david.bench.child", place, str(writing), json.dumps(arguments)],
                stdin=subprocess.PIPE,  # nothing is written: it breaks when this process ends
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=[writing],
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._reading, self._buffer = reading, b""

    def hear(self, limit_s: float) -> Any:
        """What it tells next; None where it has ended well. Raises Failed where it ended otherwise, Cut where nothing
        comes for `limit_s` seconds."""
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                self.end()
                raise Cut(f"it did not end within {limit_s:.3g} s")
            data = os.read(self._reading, 1 << 16)
            if not data:
                raise Failed(self._why())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        kind, said = json.loads(line)
        if kind == "failed":
            self.end()
            raise Failed(said)
        return said if kind == "said" else None

    def end(self) -> None:
        """End it, and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # where a driver holds it, even that end does not come
            self._process.wait(END_S)

    def __exit__(self, *_: object) -> None:
        self.end()
        assert self._process.stdin
        self._process.stdin.close()
        os.close(self._reading)
        self._printed.close()

    def _why(self) -> str:
        """Of a child that ended without a word."""
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        self._printed.seek(0)
        lines = [line for line in self._printed.read().decode(errors="replace").splitlines() if line.strip()]
        last = f": {shown(lines[-1].strip())[:MOST_SAID]}" if lines else ""
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            memory = "; the machine may have run out of memory" if -code == signal.SIGKILL else ""
            return f"its process died by {name}{memory}{last}"
        return f"its process ended with code {code} and no answer{last}"


def _nowhere_else() -> Any:
    """A file that is gone when it is closed; where none can be written, as on a read-only system, one that keeps
    nothing: what a child tells comes all the same."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return Path(os.devnull).open("ab+")


def first_line(error: BaseException) -> str:
    """What an error says first, with its type where it is no sentence of ours."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:MOST_SAID]
    if isinstance(error, DavidError):
        return shown(text)
    return shown(f"{type(error).__name__}: {text}" if text else type(error).__name__)


def _end_with_parent() -> None:
    """Wait in a thread for the parent's end of the pipe to close, and then end this session."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    place, words, arguments = sys.argv[1:]
    os.set_inheritable(int(words), False)
    _end_with_parent()

    def say(kind: str, what: Any) -> None:
        data = json.dumps([kind, what]).encode() + b"\n"
        while data:
            data = data[os.write(int(words), data) :]

    code = 0
    try:
        load(place)(lambda what: say("said", what), **json.loads(arguments))
        say("end", None)
    except Exception as error:
        import traceback

        traceback.print_exc()
        say("failed", first_line(error))
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # libraries' threads may hang in their own clean-up


if __name__ == "__main__":
    main()
