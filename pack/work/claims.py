"""Where jobs that write one folder of shards meet: `SHARDS/.pack/`, gone once the manifest is written.

`NAME.json` is one finished shard: written last, so that where it is, the shard is whole. Two kinds of lock
(`alone.py`): `lock`, held for a moment to agree on what is written, to claim a part and to end; and
`lock-GROUP-I-of-N`, held by the job that writes part I of N.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from david.pack import alone, files
from david.pack.errors import DavidError
from david.pack.shards import manifest

FOLDER = manifest.RECORD
LOCK = "lock"
Claim = tuple[str, int, int]  # group, number, of
_CLAIM = re.compile(r"lock-(?P<group>.+)-(?P<number>[0-9]{1,9})-of-(?P<of>[0-9]{1,9})")


@dataclass(frozen=True)
class Claims:
    """`SHARDS/.pack`, as files. command: whose work is shared there"""

    shards: Path
    command: ClassVar[str]

    @property
    def folder(self) -> Path:
        return self.shards / FOLDER

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other job plans, claims or ends meanwhile."""
        with alone.alone(self.folder / LOCK):
            yield

    @contextmanager
    def claim(self, group: str, number: int, of: int) -> Iterator[None]:
        """Hold part `number` of `of` for the time of a run; begin it under `alone`.

        Raises DavidError where another job holds it, or a part that shares shards with it."""
        self._refuse_others(
            lambda theirs: theirs[0] == group and (number - theirs[1]) % math.gcd(of, theirs[2]) == 0,
            f"part {number}/{of} of it",
        )
        with alone.alone(self.folder / f"lock-{group}-{number}-of-{of}", wait=False):
            yield

    def refuse_others(self) -> None:
        """Raises DavidError where any job holds a part. Ask under `alone`."""
        self._refuse_others(lambda _: True, "it")

    def _refuse_others(self, meets: Callable[[Claim], bool], what: str) -> None:
        if theirs := next(self._held(meets), None):
            raise DavidError(
                f"{self.shards}: another {self.command} is at work on {what}, as part {theirs[1]}/{theirs[2]}; "
                "wait for its end"
            )

    def _held(self, meets: Callable[[Claim], bool]) -> Iterator[Claim]:
        """The parts that jobs hold now, of those that `meets` takes."""
        for path in sorted(self.folder.glob("lock-*")):
            if match := _CLAIM.fullmatch(path.name):
                theirs = match["group"], int(match["number"]), int(match["of"])
                if meets(theirs) and alone.is_held(path):
                    yield theirs

    def idle(self) -> bool:
        """Whether no job holds a part. Ask under `alone`."""
        return next(self._held(lambda _: True), None) is None

    def any_of(self, names: Iterable[str]) -> bool:
        """Whether any of these shards has a line, or a file that is whole, or one that a writer may yet finish whose
        command was killed."""
        there = [path for folder in (self.shards, self.folder) if folder.is_dir() for path in folder.iterdir()]
        return not set(names).isdisjoint(path.name.removeprefix(".").partition(".")[0] for path in there)

    def path(self, name: str) -> Path:
        """Of a finished shard's line."""
        return self.folder / f"{name}.json"

    def sweep(self, name: str) -> None:
        """Take away what a killed writer of a shard left half written."""
        for path in (self.shards / f"{name}.tar", self.shards / f"{name}.idx", self.path(name)):
            files.sweep(path)

    def forget(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def empty(self) -> None:
        """Take away all but the locks; call it under `alone`."""
        for path in self._files():
            if not path.name.startswith(LOCK):
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """The set is whole: what was kept to go on with is no longer needed. The last that is done under `alone`."""
        for path in sorted(self._files(), key=lambda path: path.name in (LOCK, f"{LOCK}.held")):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # another job waits there already, and clears it in its turn
            self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(self.folder.iterdir()) if self.folder.is_dir() else []
