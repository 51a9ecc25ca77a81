"""What each thread did and when, for as long as somebody records it; else saying so costs one look.

    with trace.recording() as record:
        ...
    record.spans

Who works says where that begins and ends, in this room and those above it: `with trace.span("forward")`. What the
loader's stages measure anyway (`stages.py`) comes by itself. `david bench explain` reads it.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from time import perf_counter_ns, thread_time_ns
from typing import Any, NamedTuple, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")

ON_DEVICE = ("forward", "losses", "backward", "optimiser")  # spans whose work a GPU does, later than it is asked for
# Linux's Documentation/scheduler/sched-stats.rst: time on a core, time of waiting for one, turns
SCHEDULER = "/proc/thread-self/schedstat"
_read = ctypes.PyDLL(None).pread
_read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int64)


class Span(NamedTuple):
    """thread: its number in the system; start_ns, end_ns: by `perf_counter_ns`
    cpu_ns, core_ns: time of it that the thread was on a core, and that it waited for one; -1 where nobody asked
    of: whose it is, where there may be several: a loader's `Stages`; number: of its batch there, from 0 on"""

    thread: int
    name: str
    start_ns: int
    end_ns: int
    cpu_ns: int = -1
    core_ns: int = -1
    of: Any = None
    number: int = -1


class Queued(NamedTuple):
    """Work of a GPU, between two events. asked_ns: when the host queued it; copies: beside what is computed"""

    name: str
    asked_ns: int
    begin: Any
    end: Any
    copies: bool


class Record:
    """spans: in the order in which they ended; queued: in the order in which they were; threads: number -> name
    thread: that began it; event: records an event on a stream, None for the present one, where there is a GPU"""

    def __init__(self, event: Callable[[Any], Any] | None = None):
        self.spans: list[Span] = []
        self.queued: list[Queued] = []
        self.threads: dict[int, str] = {}
        self.thread, self.event = _own.ident, event

    def add(self, name: str, start_ns: int, end_ns: int, *more: Any) -> None:
        ident = _own.ident
        if ident not in self.threads:
            self.threads[ident] = threading.current_thread().name
        self.spans.append(Span(ident, name, start_ns, end_ns, *more))


_record: Record | None = None
_NOTHING = nullcontext()


@contextmanager
def recording(event: Callable[[Any], Any] | None = None) -> Iterator[Record]:
    """Meanwhile all threads of this process are recorded, by one who asks at a time."""
    global _record
    assert _record is None, "two cannot record at once"
    _record = made = Record(event)
    try:
        yield made
    finally:
        _record = None


def span(name: str, of: Any = None, number: int = -1, stream: Any = None) -> AbstractContextManager:
    """Record what this thread does meanwhile. stream: of a GPU, where that works beside what it computes"""
    return _NOTHING if _record is None else _Open(_record, name, of, number, stream)


def spanned(name: str) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Record each call of a function."""

    def around(function: Callable[Given, Made]) -> Callable[Given, Made]:
        @wraps(function)
        def called(*args: Given.args, **kwargs: Given.kwargs) -> Made:
            with span(name):
                return function(*args, **kwargs)

        return called

    return around


def mark(name: str, of: Any, number: int = -1) -> None:
    """Record that something happened."""
    if _record is not None:
        now = perf_counter_ns()
        _record.add(name, now, now, -1, -1, of, number)


def spent(of: Any, spent: tuple[tuple[str, float], ...]) -> None:
    """Record seconds that this thread has just spent with one thing after the other."""
    if _record is not None:
        end = perf_counter_ns()
        for name, seconds in reversed(spent):
            start = end - round(1e9 * seconds)
            _record.add(name, start, end, -1, -1, of)
            end = start


class _Open:
    """A span that has not ended."""

    __slots__ = ("_about", "_begin", "_begun", "_copies", "_name", "_record", "_stream")

    def __init__(self, record: Record, name: str, of: Any, number: int, stream: Any):
        self._record, self._name, self._about, self._stream = record, name, (of, number), stream
        self._copies, self._begin = stream is not None, None

    def __enter__(self) -> None:
        if self._record.event and (self._copies or self._name in ON_DEVICE):
            self._begin = self._record.event(self._stream)
        self._begun = _own.waited_ns(), thread_time_ns(), perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        core, cpu, start = self._begun
        end = perf_counter_ns()
        if self._begin is not None and self._record.event:
            queued = Queued(self._name, start, self._begin, self._record.event(self._stream), self._copies)
            self._record.queued.append(queued)
        self._record.add(self._name, start, end, thread_time_ns() - cpu, _own.waited_ns() - core, *self._about)


class _Thread:
    """One thread: its number, which no other gets for long, and what Linux tells of it; nothing elsewhere."""

    def __init__(self) -> None:
        self.ident = threading.get_native_id()
        try:
            self._file = os.open(SCHEDULER, os.O_RDONLY)
        except OSError:
            self._file = None
        self._line = ctypes.create_string_buffer(80)

    def waited_ns(self) -> int:
        """For a core, so far. Python's lock is kept: to get it back may take longer than all that is timed."""
        if self._file is None:
            return 0
        _read(self._file, self._line, len(self._line), 0)
        return int(self._line.value.split()[1])

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _Own(threading.local):
    """The present thread."""

    def __init__(self) -> None:
        self.thread = _Thread()
        self.ident, self.waited_ns = self.thread.ident, self.thread.waited_ns


_own = _Own()
