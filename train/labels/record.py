"""What a sidecar under way depends on, and what of it is finished: `SIDECAR/.pack/label.json`, a line for each shard.

A run that depends on anything else is refused against it once a shard is finished, and replaces it before.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from david.pack import files
from david.pack.errors import DavidError
from david.pack.shards import manifest, shard, sidecar
from david.pack.shards.manifest import Manifest, Shard
from david.pack.work.claims import Claims

NAMES = "name", "words"  # for people, and not compared


class Record(Claims):
    """`SIDECAR/.pack` of `david label`, as files; what is kept of a plan is as `asked` in `work.asked`."""

    command = "david label"

    def require_own(self) -> None:
        """Raise DavidError where another command's work lies there."""
        if (self.folder / "plan.json").exists():
            raise DavidError(f"{self.shards}: david pack has begun a shard set there; name another --out")

    def agree(self, asked: dict[str, Any]) -> None:
        """Write down what is asked for, or compare it with what is there; ask under `alone`, before a part is claimed.

        Raises DavidError with both values where they differ, and something is finished or others are at work."""
        there = sidecar.plan(self.shards)
        if there is not None:
            try:
                compare(self.shards, there, asked)
                return
            except DavidError:
                if not self.idle() or self.any_of(name for _, name, _ in there["shards"]):
                    raise
            self.empty()
        files.write_whole(self.folder / sidecar.PLAN, json.dumps(asked).encode())

    def finish(self, written: Shard) -> None:
        files.make_folder(self.folder)  # another job may have ended the sidecar meanwhile
        files.write_whole(self.path(written.name), json.dumps(asdict(written)).encode())

    def done(self, name: str) -> Shard | None:
        """A finished shard; None where there is none, or a damaged line: the shard is written again."""
        try:
            found = Shard.parse(json.loads(self.path(name).read_bytes()))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if shard.there(self.shards, found) else None

    def end(self) -> Manifest | None:
        """Write the manifest, or take the one that is there; None where shards are still missing."""
        with self.alone():
            if (self.shards / manifest.NAME).exists():
                written = sidecar.load(self.shards)
            else:
                there = sidecar.plan(self.shards)
                found = {name: self.done(name) for _, name, _ in there["shards"]} if there else {}
                if there is None or not all(found.values()):
                    return None
                splits: dict[str, list[Shard]] = {split: [] for split in there["splits"]}
                for split, name, _ in there["shards"]:
                    splits[split].append(found[name])  # type: ignore[arg-type]  # none is None
                written = Manifest(
                    folder=self.shards,
                    options=there["options"],
                    splits={split: tuple(shards) for split, shards in splits.items()},
                    libraries=there["libraries"],
                    fields=(sidecar.TEACHER_DEPTH,),
                    belongs=there["belongs"],
                )
                written.write()
            self.clear()
        return written

    def begin_anew(self, base: Manifest) -> None:
        """Take away what earlier runs wrote, and nothing else. Call it under `alone`. Raises DavidError where another
        job is at work."""
        self.refuse_others()
        there = sidecar.plan(self.shards)
        names = {name for _, name, _ in there["shards"]} if there else set()
        names |= {one.name for shards in base.splits.values() for one in shards}
        if (self.shards / manifest.NAME).exists():
            names |= {one.name for shards in sidecar.load(self.shards).splits.values() for one in shards}
            (self.shards / manifest.NAME).unlink()
        for name in names:
            for ending in (".tar", ".idx"):
                (self.shards / f"{name}{ending}").unlink(missing_ok=True)
        self.empty()


def compare(folder: Path, there: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raise DavidError that names every difference with both values."""
    differences = []
    for what, ours, theirs in (
        ("", there["belongs"], asked["belongs"]),
        ("the teacher's ", there["belongs"]["teacher"], asked["belongs"]["teacher"]),
        ("", there["libraries"], asked["libraries"]),
    ):
        for name in sorted((ours | theirs).keys() - {*NAMES, "teacher"}):
            if ours.get(name) != theirs.get(name):
                differences.append(f"{what}{name} is {ours.get(name)} there and {theirs.get(name)} now")
    if differences:
        raise DavidError(
            f"{folder}: was begun otherwise: {'; '.join(differences)}; go on with the same, name another --out, or "
            "start over with --restart"
        )
