"""Stages of the loader made slower by a known amount, so that a prediction can be held against a run."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from david.pipeline import stages

BLOCK = bytes(1 << 15)  # hashed outside Python's lock


@contextmanager
def slower(core_ns: dict[str, float], aside_ns: dict[str, float], disk_ns: float) -> Iterator[None]:
    """Meanwhile these stages of each sample take so much more time on a core and without one, and reading it so much of
    a disk that all threads share."""
    disk, add = _Disk(disk_ns), stages.Stages.add

    def later(self: stages.Stages, *spent: tuple[str, float]) -> None:
        found = []
        for name, seconds in spent:
            begin = time.perf_counter()
            if name == "read" and disk_ns:
                disk.wait()
            if name in aside_ns:
                time.sleep(aside_ns[name] / 1e9)
            if name in core_ns:
                burn(core_ns[name])
            found.append((name, seconds + time.perf_counter() - begin))
        add(self, *found)

    stages.Stages.add = later
    try:
        yield
    finally:
        stages.Stages.add = add


def burn(ns: float) -> None:
    """Be on a core for so long."""
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        hashlib.sha256(BLOCK)


class _Disk:
    """One at a time."""

    def __init__(self, ns: float):
        self._s, self._free, self._lock = ns / 1e9, 0.0, threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.perf_counter()
            self._free = max(now, self._free) + self._s
            until = self._free
        time.sleep(max(0.0, until - now))
