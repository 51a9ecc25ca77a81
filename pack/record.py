"""The record of a pack under way: `SHARDS/.pack/`, gone once the manifest is written.

`plan.json` (or `plan-GROUP.json`, see `plan.plan`) holds what the shards depend on; a run with other options or other
raw data is refused against it. `NAME.json` is one finished shard: written last, so that where it is, the shard is
whole. Shards are pure functions of the plan, so whoever finds one missing may write it.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from david.pack import files
from david.pack.errors import DavidError
from david.pack.manifest import Shard
from david.pack.plan import CODECS
from david.pack.report import Report

FOLDER = ".pack"
SHOWN = 5  # samples named in a message


@dataclass(frozen=True)
class Done:
    """A finished shard. shard: None where every sample of it was set aside; quarantined: those, with reasons."""

    split: str
    name: str
    shard: Shard | None
    report: Report
    quarantined: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "split": self.split,
            "name": self.name,
            "shard": asdict(self.shard) if self.shard else None,
            "quarantined": self.quarantined,
            "report": self.report.as_json(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Done":
        shard = Shard(**content["shard"]) if content["shard"] else None
        report = Report.from_json(content["report"])
        return cls(content["split"], content["name"], shard, report, content["quarantined"])


@dataclass(frozen=True)
class Record:
    """`SHARDS/.pack`, as files."""

    shards: Path

    @property
    def folder(self) -> Path:
        return self.shards / FOLDER

    def plan_path(self, group: str | None) -> Path:
        return self.folder / ("plan.json" if group is None else f"plan-{group}.json")

    def plans(self) -> list[dict[str, Any]]:
        """The plans agreed on so far, by name."""
        return [json.loads(path.read_bytes()) for path in sorted(self.folder.glob("plan*.json"))]

    def agree(self, plan: dict[str, Any], group: str | None) -> None:
        """Write the plan, or compare it with the one there. Raises DavidError with both values where they differ."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.plan_path(group)
        if path.exists():
            compare(self.shards, json.loads(path.read_bytes()), plan)
        else:
            files.write_whole(path, json.dumps(plan).encode())

    def finish(self, done: Done) -> None:
        files.write_whole(self.folder / f"{done.name}.json", json.dumps(done.as_json()).encode())

    def done(self, name: str) -> Done | None:
        path = self.folder / f"{name}.json"
        return Done.from_json(json.loads(path.read_bytes())) if path.exists() else None

    def forget(self, name: str) -> None:
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def clear(self) -> None:
        """The set is whole: what was kept to go on with is no longer needed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def claim(self, part: str) -> Iterator[None]:
        """Hold this part for the time of a run. Raises DavidError where another run holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / f"lock-{part}", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise DavidError(
                f"{self.shards}: another david pack is at work on part {part} of it; wait for its end"
            ) from error
        finally:
            os.close(handle)


def compare(shards: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises DavidError that names every difference with both values; plans are alike where none is found."""
    there = there | {"libraries": {CODECS: "revision 1"} | there["libraries"]}  # the first was not written down
    differences = []
    for group in ("options", "libraries"):
        for name in sorted(there[group] | asked[group]):
            ours, theirs = there[group].get(name), asked[group].get(name)
            if ours != theirs:
                differences.append(f"{name} is {ours} there and {theirs} now")
    groups, asked_groups = there.get("groups"), asked.get("groups")
    if groups and asked_groups and groups != asked_groups:
        differences.append(f"the set has {groups} groups there and {asked_groups} now")
    if there["raw"]["digest"] != asked["raw"]["digest"]:
        samples = _samples(there.get("contents"), asked.get("contents"))
        differences.append(f"the raw data is {_told(there['raw'])} there and {_told(asked['raw'])} now{samples}")
    if differences:
        raise DavidError(
            f"{shards}: was begun otherwise: {'; '.join(differences)}; go on with the same or start over with --restart"
        )


def _told(raw: dict[str, Any]) -> str:
    return f"{raw['samples']:,} samples in {len(raw['archives'])} archives (digest {raw['digest'][:12]})"


def _samples(there: dict[str, str] | None, asked: dict[str, str] | None) -> str:
    """Which samples differ, in words; none where that was not kept."""
    if there is None or asked is None:
        return ""
    differing = {
        "no longer there": sorted(there.keys() - asked.keys()),
        "new": sorted(asked.keys() - there.keys()),
        "changed": sorted(key for key in there.keys() & asked.keys() if there[key] != asked[key]),
    }
    return "".join(
        f", {len(keys):,} {'sample' if len(keys) == 1 else 'samples'} {how} ({', '.join(keys[:SHOWN])}"
        f"{', ...' if len(keys) > SHOWN else ''})"
        for how, keys in differing.items()
        if keys
    )
