"""An unfinished download that outlives its process: `NAME.zip.part` and, beside it, `NAME.zip.journal`.

The part file is written in place, in any order. The journal's first line names the version of the file that is being
fetched; after it stands one line for each part that is whole on the disk (`done 12`) or was found damaged (`lost 12`).
Lines are only ever appended: a `done` after its bytes are on the disk, a `lost` before they are written over, so every
cut of the journal is true.
"""

import errno
import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from david.pack.errors import Refused
from david.pack.fetch.answers import About, Unavailable
from david.pack.files import sync

FORMAT = "david download journal 1"


class NoDisk(Unavailable, Refused):
    """The disk takes no more."""


class Partial:
    """The file that will be `target` once all of `parts`, (start, stop) byte ranges, are `done`.

    A journal of another version of the file, or none, starts from nothing. A file of unknown size is one part
    without an end. Writes are safe from many threads; where the disk is full they raise Unavailable."""

    def __init__(self, target: Path, about: About, part_bytes: int):
        self.target = target
        self.path, self._journal_path = _beside(target)
        version = {"size": about.size, "etag": about.etag, "last_modified": about.last_modified}
        part_bytes, self.done, clean = _read_journal(self._journal_path, version, part_bytes)
        if self.done and not (self.path.exists() and about.size in (None, self.path.stat().st_size)):
            self.done, clean = set(), 0
        self.parts = [
            (start, None if about.size is None else min(start + part_bytes, about.size))
            for start in range(0, about.size or 1, part_bytes)
        ]
        self._adding = threading.Lock()
        with _speaking_of(self.path):
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            self._journal = os.open(self._journal_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._journal, clean)  # without what a kill cut short
            if not clean:
                os.ftruncate(self._file, about.size or 0)
                self._add(json.dumps({"format": FORMAT, **version, "part_bytes": part_bytes}))
                os.fsync(self._journal)  # else one of an older version might come back after a power cut

    def __enter__(self) -> "Partial":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        os.close(self._journal)

    @property
    def missing(self) -> list[int]:
        """Numbers of the parts still to fetch, in order."""
        return [number for number in range(len(self.parts)) if number not in self.done]

    def length(self, number: int) -> int:
        """Bytes of a part, 0 where that isn't known."""
        start, stop = self.parts[number]
        return stop - start if stop else 0

    def write(self, offset: int, data: bytes) -> None:
        with _speaking_of(self.path):
            view = memoryview(data)
            while view:
                count = os.pwrite(self._file, view, offset)
                view, offset = view[count:], offset + count

    def finish(self, numbers: list[int]) -> None:
        """Note parts as fetched, once their bytes are on the disk."""
        with _speaking_of(self.path):
            os.fsync(self._file)
            self._add(*(f"done {number}" for number in numbers))
        self.done |= set(numbers)

    def lose(self, ranges: list[tuple[int, int]]) -> None:
        """Note all parts that overlap these byte ranges as to be fetched again."""
        lost = [
            number
            for number, (start, stop) in enumerate(self.parts)
            if any(start < last and (stop is None or first < stop) for first, last in ranges)
        ]
        with _speaking_of(self.path):
            self._add(*(f"lost {number}" for number in lost))
            os.fsync(self._journal)  # before others are written over them
        self.done -= set(lost)

    def cut(self, size: int) -> None:
        """End the file after `size` bytes: what an earlier, longer answer left behind goes."""
        with _speaking_of(self.path):
            os.ftruncate(self._file, size)

    def complete(self) -> None:
        """The finished file takes its final name; the journal goes."""
        with _speaking_of(self.path):
            os.fsync(self._file)
            self.path.replace(self.target)
            sync(self.target.parent)
            self._journal_path.unlink()

    def _add(self, *lines: str) -> None:
        with self._adding:
            os.write(self._journal, "".join(f"{line}\n" for line in lines).encode())


@contextmanager
def _speaking_of(path: Path) -> Iterator[None]:
    """Turns what the operating system says of a write into a sentence. Every other file would meet the same."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise NoDisk(
                f"{path}: the disk is full ({free / 1e9:,.1f} GB free); what has arrived is kept: make room and run "
                "the same command again to go on"
            ) from error
        raise NoDisk(f"{path}: can't be written ({error.strerror})") from error


def held(target: Path) -> int:
    """Bytes on the disk that an unfinished download of `target` takes up already."""
    path, _ = _beside(target)
    return path.stat().st_blocks * 512 if path.exists() else 0


def clear(target: Path) -> None:
    """Remove the journal that a kill between its last two steps left beside a finished file."""
    _beside(target)[1].unlink(missing_ok=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.journal")


def _read_journal(path: Path, version: dict, part_bytes: int) -> tuple[int, set[int], int]:
    """Part size, the parts done and the journal's clean length; no parts and 0 where it's not of this version."""
    content = path.read_bytes() if path.exists() else b""
    clean = content.rfind(b"\n") + 1
    try:
        first, *lines = content[:clean].decode().splitlines()
        header = json.loads(first)
        written = header.pop("part_bytes")
        if header != {"format": FORMAT, **version} or written < 1:
            return part_bytes, set(), 0
        done: set[int] = set()
        for line in lines:
            what, number = line.split()
            {"done": done.add, "lost": done.discard}[what](int(number))
        return written, done, clean
    except (ValueError, KeyError, TypeError, AttributeError):  # not a journal: begin anew
        return part_bytes, set(), 0
