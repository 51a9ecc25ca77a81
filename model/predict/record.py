"""What was predicted, to look up and to go on from: `OUT/predictions.jsonl`, one JSON line an input.

    {"input": "photos/a.jpg", "size": [3000, 4000], "fields": [...], "depth_range": [least, most],
     "files": {"a_picture.jpg": 1234567}}
    {"input": "photos/b.jpg", "error": "photos/b.jpg: a JPEG that can't be decoded: ..."}

A line is written once the files are there, which it names with their sizes in bytes; lines stand in the order of the
inputs. Of `--part 2/4` the file is `predictions-2-of-4.jsonl`; a run reads them all. `OUT/predictions.json` holds what
the files depend on (weights, options). An input is done where its line names no error and its files are there.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from david.model.predict.inputs import Input
from david.pack import alone, files
from david.pack.errors import DavidError
from david.pack.part import Part

SETTINGS = "predictions.json"
LINES = "predictions*.jsonl"
OF_NETWORK = ("weights", "size", "fit", "precision")  # settings that are known once it is loaded
_LOCKS = ".predict-*.lock"
_OF_PARTS = re.compile(r"predictions-\d+-of-([1-9]\d{0,8})\.jsonl")


@dataclass(frozen=True)
class Outcome:
    """What became of one input. files: their names below the folder of outputs, and bytes; facts: of the picture, as
    JSON; error: a sentence that names it, and why it was not predicted"""

    input: Input
    files: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def line(self) -> bytes:
        told = {"error": self.error} if self.error else {**self.facts, "files": self.files}
        return json.dumps({"input": self.input.name, **told}).encode() + b"\n"


class Record:
    """Of one run: a part of the inputs, written to `out`. Enter `opened` before anything else."""

    def __init__(self, out: Path, part: Part | None = None):
        self.out, self.part = out, part or Part()
        alone_here = self.part.of == 1
        self.path = out / ("predictions.jsonl" if alone_here else f"predictions-{self.part}.jsonl")
        self._done: dict[str, dict[str, int]] = {}  # name of an input that is in some line -> its files
        self._writers: dict[str, str] = {}  # a file -> the input that it was made of
        self._file: BinaryIO

    @contextmanager
    def opened(self, settings: dict[str, Any], restart: bool = False, led: bool = False) -> Iterator["Record"]:
        """Agree on what files depend on and hold this part until the end.

        settings: JSON; what it calls `name` is for people, and not compared. restart: take away what is there first.
        led: whether another process, in `leading`, looks after what unfinished files are left.
        Raises DavidError where earlier runs had other settings, or another run is at work on this part."""
        files.make_folder(self.out)
        lock = self.out / f".predict-{self.part}.lock"
        try:
            with _alone(lock, wait=False):
                with _alone(self.out / ".predict.lock"):
                    if restart:
                        self._take_away(lock)
                    self._agree(settings)
                if not led:
                    files.sweep_below(self.out)
                self._read(mend=True)
                with self.path.open("ab") as self._file:
                    yield self
        except alone.Held as held:
            raise DavidError(
                f"{self.out}: another david predict is at work there on part {self.part.number}/{self.part.of}; wait "
                "for its end"
            ) from held

    @contextmanager
    def leading(self, settings: dict[str, Any], restart: bool = False) -> Iterator["Record"]:
        """As `opened`, for a process whose tasks write the parts: no line is added here. What killed tasks leave of
        unfinished files is taken away before and after."""
        files.make_folder(self.out)
        lock = self.out / ".predict-ray.lock"
        try:
            with _alone(lock, wait=False):
                with _alone(self.out / ".predict.lock"):
                    if restart:
                        self._take_away(lock)
                    self._agree(settings)
                files.sweep_below(self.out)
                self._read(mend=False)
                try:
                    yield self
                finally:
                    files.sweep_below(self.out)
        except alone.Held as held:
            raise DavidError(
                f"{self.out}: another david predict --engine ray is at work there; wait for its end"
            ) from held

    def parts(self) -> int | None:
        """Into how many parts earlier runs cut the inputs, None where none did; the most where these differ."""
        named = (_OF_PARTS.fullmatch(path.name) for path in self.out.glob(LINES))
        return max((int(found[1]) for found in named if found), default=None)

    def refuse_other(self, words: dict[str, Any], restart: bool = False) -> None:
        """Raise DavidError where earlier runs had other settings, as far as `words` has them: what it has not counts
        where only words could have set it. A first look, before a network is loaded; `opened` looks again."""
        if restart or not (self.out / SETTINGS).is_file():
            return
        there = self._settings()
        self._compare({one: value for one, value in there.items() if one in words or one not in OF_NETWORK}, words)

    def made(self) -> set[str]:
        """The files that earlier runs wrote, by their paths below the folder of outputs."""
        lines = (line for path in sorted(self.out.glob(LINES)) for _, line in _lines(path))
        return {name for line in lines for name in line.get("files", {})}

    def refuse_strangers(self, inputs: Sequence[Input], files: Callable[[Input], Iterable[str]]) -> None:
        """Raise DavidError where a file that is to be written of an input, as `files` names it, is an input itself, or
        is there before any run was: then it is somebody's own."""
        out, real = Path(os.path.realpath(self.out)), cache(lambda folder: Path(os.path.realpath(folder)))
        taken = {found for one in inputs if (found := real(one.path.parent) / one.path.name).is_relative_to(out)}
        begun = (self.out / SETTINGS).exists() or not self.out.is_dir() or not any(self.out.iterdir())
        if begun and not taken:
            return
        for one in inputs:
            for name in files(one):
                if out / name in taken or (not begun and (out / name).exists()):
                    raise DavidError(
                        f"{self.out / name}: there already, and no david predict wrote it; what is said of {one.name} "
                        "would be written over it; name another --out"
                    )

    def done(self, one: Input) -> bool:
        """Whether it was predicted, and its files are there as they were written."""
        named = self._done.get(one.name)
        return bool(named) and all(_size(self.out / name) == size for name, size in named.items())

    def require_free(self, inputs: Iterable[Input], endings: Iterable[str]) -> None:
        """Raise DavidError where an input would write over what was made of another."""
        for one in inputs:
            for ending in endings:
                maker = self._writers.get(one.stem + ending, one.name)
                if maker != one.name:
                    raise DavidError(
                        f"{self.out / (one.stem + ending)}: was made of {maker}, and {one.name} would be written over "
                        "it; name another --out"
                    )

    def add(self, outcome: Outcome) -> None:
        """Write a line down. It outlives this process; what a machine that fails takes with it is predicted again."""
        self._file.write(outcome.line())
        self._file.flush()

    def finish(self, inputs: Iterable[Input]) -> None:
        """Put the lines in the order of `inputs`, one each, the newest; behind those of others. What a run wrote that
        was never stopped is so already, and stays."""
        lines: dict[str, bytes] = {}
        order = []
        for line in _lines(self.path):
            name = line[1]["input"]
            order.append(name)
            lines[name] = line[0]
        wanted = [one.name for one in inputs if one.name in lines]
        others = set(lines).difference(wanted)
        wanted = [name for name in lines if name in others] + wanted
        if wanted != order:
            with files.whole(self.path) as file:
                file.writelines(lines[name] for name in wanted)

    def _agree(self, settings: dict[str, Any]) -> None:
        path = self.out / SETTINGS
        if not path.exists():
            files.write_whole(path, json.dumps(settings, indent=2).encode() + b"\n")
            return
        self._compare(self._settings(), settings)

    def _settings(self) -> dict[str, Any]:
        path = self.out / SETTINGS
        try:
            there = json.loads(path.read_bytes())
            if not isinstance(there, dict):
                raise ValueError("expected an object")
        except ValueError as error:
            raise DavidError(f"{path}: not what david predict writes ({error}); start over with --restart") from error
        return there

    def _compare(self, there: dict[str, Any], settings: dict[str, Any]) -> None:
        differing = [
            f"{name} is {_told(there.get(name))} there and {_told(settings.get(name))} now"
            for name in sorted(there.keys() | settings.keys())
            if _bare(there.get(name)) != _bare(settings.get(name))
        ]
        if differing:
            raise DavidError(
                f"{self.out}: was begun otherwise: {'; '.join(differing)}; go on with the same, name another --out, or "
                "start over with --restart"
            )

    def _read(self, *, mend: bool) -> None:
        """What earlier runs wrote down. mend: of this part's file, take a line away that was cut short by a kill."""
        for path in sorted(self.out.glob(LINES)):
            end = 0
            for raw, line in _lines(path):
                end += len(raw)
                named = line.get("files", {})
                self._done[line["input"]] = named
                self._writers |= dict.fromkeys(named, line["input"])
            if mend and path == self.path and end < path.stat().st_size:
                os.truncate(path, end)

    def _take_away(self, lock: Path) -> None:
        """What earlier runs wrote: the files that lines name, the lines and the settings."""
        if busy := [path.name for path in self.out.glob(_LOCKS) if path != lock and alone.is_held(path)]:
            raise DavidError(f"{self.out}: another david predict is at work there ({busy[0]}); wait for its end")
        inside = self.out.resolve()
        for path in sorted(self.out.glob(LINES)):
            for _, line in _lines(path):
                for name in line.get("files", {}):
                    if (inside / name).resolve().is_relative_to(inside):
                        (inside / name).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        (self.out / SETTINGS).unlink(missing_ok=True)


@contextmanager
def _alone(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """As `alone.alone`; and the file goes with who holds it."""
    with alone.alone(lock, wait=wait):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """The whole lines of a file from its beginning on, as they stand and as they are meant; none of a missing file.

    Raises DavidError where a line that is not the last is none of ours."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = json.loads(raw)
                ours = isinstance(line["input"], str) and all(isinstance(name, str) for name in line.get("files", {}))
                if not raw.endswith(b"\n") or not ours:
                    raise ValueError
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if file.read(1):
                    raise DavidError(
                        f"{path}, line {number}: not what david predict writes; mend it, or start over with --restart"
                    ) from error
                return
            yield raw, line


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _bare(value: Any) -> Any:
    """Without names that are for people alone."""
    if isinstance(value, list):
        return [_bare(one) for one in value]
    return {key: one for key, one in value.items() if key != "name"} if isinstance(value, dict) else value


def _told(value: Any) -> str:
    return "absent" if value is None else json.dumps(value)
