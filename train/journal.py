"""JSON lines, one object a step: the journal (`step`, `loss`, ...), the ledger and the metrics are kept this way.

A file that is taken up again is cut back to the step that the run goes on from, so no step is told twice.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines to append to; each record's `step` is above that of the one before."""

    def __init__(self, path: Path, last_step: int):
        """Open `path`, keeping the lines up to and with `last_step`."""
        self._file = path.open("ab")
        self._file.truncate(_end_of(path, last_step))

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Return once every line is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a journal; a last line that is still being written is left out."""
    if path.exists():
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)


def _end_of(path: Path, last_step: int) -> int:
    """The number of bytes up to the end of the line of `last_step`."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["step"] > last_step:
                break
            end += len(line)
    return end
