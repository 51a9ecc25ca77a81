"""JSON lines, one object a step: the journal (`step`, `loss`, ...), the ledger and the metrics are kept this way.

A checkpoint keeps a `Mark` of each file, so what it was saved beside is known to the byte. A file that is taken up
again is held against it and cut back to it: no step is told twice, and nothing that was told goes unnoticed.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

from david.pack.errors import DavidError
from david.pack.files import sync


class Mark(TypedDict):
    """How long a file was, and the SHA-256 of that."""

    bytes: int
    sha256: str


class Journal:
    """A file of JSON lines to append to; each record's `step` is above that of the one before."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("ab", buffering=0)
        with path.open("rb") as file:
            self._digest = hashlib.file_digest(file, "sha256")
            self._bytes = file.tell()

    def write(self, record: dict[str, Any]) -> None:
        """Raises OSError, which names the file, where the line can't be written whole."""
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._digest.update(line)
        self._bytes += len(line)

    def sync(self) -> Mark:
        """Return once every line is on the disk, and the file's name."""
        os.fsync(self._file.fileno())
        sync(self.path.parent)
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a journal; a last line that is still being written is left out.

    Raises DavidError where another line is none."""
    if path.exists():
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    record = json.loads(line)
                    record["step"]
                except (ValueError, KeyError, TypeError) as error:
                    raise DavidError(f"{path}: line {number} is no record of a step; the file is damaged") from error
                yield record


def cut_back(path: Path, step: int, mark: Mark | None) -> str | None:
    """Leave of a file what it told up to the checkpoint of `step` (0: none); a sentence where that is not all.

    mark: the checkpoint's; none where an older version saved it. Raises DavidError where the file does not begin with
    what the checkpoint was saved beside."""
    lost = step > 0 if mark is None else mark["bytes"] > 0
    if not path.exists():
        return f"{path} is gone: what it told up to step {step} is lost, it goes on from there" if lost else None
    if mark is None:
        end = _end_of(path, step)
    else:
        with path.open("rb") as file:
            same = hashlib.sha256(file.read(mark["bytes"])).hexdigest() == mark["sha256"]
        if not same:
            raise DavidError(
                f"{path}: its first {mark['bytes']} bytes are not those that the checkpoint of step {step} was saved "
                "beside; put the file back, or move it away to go on without what it told"
            )
        end = mark["bytes"]
    left = path.stat().st_size - end
    os.truncate(path, end)
    return f"{path.parent}: no checkpoint there, so the steps so far are trained again" if left and not step else None


def _end_of(path: Path, last_step: int) -> int:
    """The number of bytes up to the end of the line of `last_step`, after which a power cut may have left anything."""
    end = passed = 0
    with path.open("rb") as file:
        for line in file:
            passed += len(line)
            try:
                step = json.loads(line)["step"] if line.endswith(b"\n") else last_step + 1
            except (ValueError, KeyError, TypeError):
                continue
            if step > last_step:
                break
            if end + len(line) != passed:
                raise DavidError(
                    f"{path}: damaged before the line of step {step}; put the file back, or move it away to go on "
                    "without what it told"
                )
            end = passed
    return end
