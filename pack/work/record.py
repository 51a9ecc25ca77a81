"""The record of a pack under way: `SHARDS/.pack/`, gone once the manifest is written.

`plan.json` (or `plan-GROUP.json`, see `plan.plan`) holds what the shards depend on; a run with other options or other
raw data is refused against it once a shard is finished, and replaces it before. `NAME.json` is one finished shard:
written last, so that where it is, the shard is whole. Shards are pure functions of the plan, so whoever finds one
missing may write it.

Jobs that share the work meet as `claims.py` has it.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from david.pack import files
from david.pack.check.report import Report
from david.pack.errors import DavidError, many
from david.pack.shards import manifest
from david.pack.shards.manifest import Shard
from david.pack.shards.schema import VERSION
from david.pack.sources.synthhuman import SynthHuman
from david.pack.work.claims import Claims
from david.pack.work.plan import CODECS

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
        shard = Shard.parse(content["shard"]) if content["shard"] else None
        report = Report.from_json(content["report"])
        return cls(content["split"], content["name"], shard, report, content["quarantined"])


@dataclass(frozen=True)
class Record(Claims):
    """`SHARDS/.pack` of `david pack`, as files."""

    command = "david pack"

    def plan_path(self, group: str | None) -> Path:
        return self.folder / ("plan.json" if group is None else f"plan-{group}.json")

    def replaceable(self) -> bool:
        """Whether what was agreed on binds nobody: no shard of it is finished, and no job holds a part. Ask under
        `alone`, before a part is claimed. Raises DavidError where a plan is damaged."""
        return not self.begun() and self.idle()

    def begun(self) -> bool:
        """Whether any shard of the plans has a line, or a file that is whole, or one that a worker may yet finish whose
        pack was killed. Raises DavidError where a plan is damaged."""
        return self.any_of(name for one in self.plans() for _, name, _ in one["shards"])

    def plans(self) -> list[dict[str, Any]]:
        """The plans agreed on so far, by name. Raises DavidError where one is damaged."""
        return [self._plan(path) for path in sorted(self.folder.glob("plan*.json"))]

    def plan(self, group: str | None) -> dict[str, Any] | None:
        """The plan of a group, None where there is none yet. Raises DavidError where it is damaged."""
        path = self.plan_path(group)
        return self._plan(path) if path.exists() else None

    def _plan(self, path: Path) -> dict[str, Any]:
        try:
            plan = json.loads(path.read_bytes())
            _ = plan["options"] | plan["libraries"], plan["raw"]["digest"], plan["raw"]["samples"], plan["quarantined"]
            [Shard.parse_name(name) for _, name, _ in plan["shards"]]
            plan |= {"groups": int(plan["groups"])}
            if plan.get("version", 1) != VERSION:
                raise ValueError(f"begun by another version of david, in format {plan.get('version', 1)}")
            manifest.parse_fields(plan["fields"])
            return plan
        except (ValueError, KeyError, TypeError) as error:
            raise DavidError(
                f"{path}: no plan of a pack ({type(error).__name__}: {error}); start over with --restart"
            ) from error

    def agree(self, plan: dict[str, Any], group: str | None, replaceable: bool = False) -> None:
        """Write the plan, or compare it with the one there; call it under `alone`. replaceable: what is there, as that
        function told: where the plans differ it makes room for this one.

        Raises DavidError with both values where they differ and it is not."""
        there = self.plan(group)
        if there is not None:
            try:
                compare(self.shards, there, plan)
                return
            except DavidError:
                if not replaceable:
                    raise
            self.empty()
        files.write_whole(self.plan_path(group), json.dumps(plan).encode())

    def finish(self, done: Done) -> None:
        files.make_folder(self.folder)  # another job may have ended the set meanwhile
        files.write_whole(self.path(done.name), json.dumps(done.as_json()).encode())

    def done(self, name: str) -> Done | None:
        """The line of a finished shard; None where there is none, or a damaged one: the shard is written again."""
        try:
            return Done.from_json(json.loads(self.path(name).read_bytes()))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None


def compare(shards: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises DavidError that names every difference with both values; plans are alike where none is found."""
    # the first codecs and the first source were not written down
    there = there | {"libraries": {CODECS: "revision 1"} | there["libraries"]}
    there |= {"options": {"source": SynthHuman.name} | there["options"]}
    asked = asked | {"options": {"source": SynthHuman.name} | asked["options"]}
    differences = []
    for group in ("options", "libraries"):
        for name in sorted(there[group] | asked[group]):
            ours, theirs = there[group].get(name), asked[group].get(name)
            if ours != theirs:
                option = " (--lossless)" if name == "image" else ""  # the one that is called otherwise
                differences.append(f"{name} is {ours} there and {theirs} now{option}")
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
    return f"{many(raw['samples'], 'sample')} in {many(len(raw['archives']), 'archive')} (digest {raw['digest'][:12]})"


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
