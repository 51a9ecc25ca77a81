"""The processes of this machine, as /proc tells."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Running(NamedTuple):
    pid: int
    parent: int
    session: int


def running() -> Iterator[Running]:
    """All that have not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, parent, _, session, *_ = path.read_text().rpartition(")")[2].split()
            if state != "Z":
                yield Running(int(path.parent.name), int(parent), int(session))


def children(pid: int) -> list[int]:
    """Those that a process started."""
    return [one.pid for one in running() if one.parent == pid]


def family(pid: int) -> list[int]:
    """A process, those that it started, and those that they started in their turn."""
    found, all_of_them = [pid], list(running())
    for member in found:
        found += [one.pid for one in all_of_them if one.parent == member]
    return found


def of_session(session: int) -> list[int]:
    return [one.pid for one in running() if one.session == session]


def called(pid: int, word: bytes) -> bool:
    """Whether a word stands in a process's command line."""
    with suppress(OSError):
        return word in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
