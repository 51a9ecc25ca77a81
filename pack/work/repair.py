"""Mending a finished shard set: shards that changed since they were packed are packed again, to the same bytes.

Every byte is held against the manifest, and whole shards stay as they are. What is packed again to other bytes takes
nothing's place. The manifest stays as well: a set never becomes another by being mended.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from david.pack.check.report import Report
from david.pack.errors import BadSample, DavidError
from david.pack.shards import manifest, shard
from david.pack.shards.manifest import Manifest
from david.pack.work.crew import Event
from david.pack.work.plan import PackOptions, Plan, ShardPlan
from david.pack.work.record import Done, Record, compare


def require_same(shards: Path, there: Manifest, whole: Plan) -> None:
    """Raises DavidError, with both values, where a finished set was packed otherwise than planned now."""
    compare(shards, described(there), whole.as_json())


def described(there: Manifest) -> dict[str, Any]:
    """What a plan must agree with to mend the set."""
    return {"options": there.options, "libraries": there.libraries, "raw": there.raw}


def repair(
    whole: Plan,
    mine: list[ShardPlan],
    shards: Path,
    runner: Callable[..., Iterator[Event]],
    *,
    workers: int,
    hear: Callable[[Event], None],
    planned: Callable[[Plan, list[Done]], None],
    watch: Callable[[int, int], None],
) -> Manifest:
    """Write again what changed of a finished set, of the shards `mine`. watch: gets the bytes read and to be read;
    other arguments as in `build.build`.

    Raises DavidError where the set was packed otherwise, or a shard comes out with other bytes than its manifest
    lists."""
    there, record = manifest.load(shards), Record(shards)
    require_same(shards, there, whole)
    listed = {one.name: one for rows in there.splits.values() for one in rows}
    if foreign := sorted(set(listed) - {one.name for one in whole.shards}):
        raise DavidError(f"{shards}: lists {foreign[0]}, which this data does not give; start over with --restart")
    mine = [one for one in mine if one.name in listed]  # the others hold no good sample
    for one in mine:
        record.sweep(one.name)
    changed = {one.name for one in shard.changed(shards, (listed[one.name] for one in mine), workers, watch)}
    missing = [replace(one, expected=listed[one.name]) for one in mine if one.name in changed]
    if missing:
        kept = [one for one in mine if one.name not in changed]
        planned(whole, [Done(one.split, one.name, listed[one.name], Report()) for one in kept])
    packing, quarantine = whole.packing, bool(there.quarantined)
    try:
        for event in runner(missing, shards, packing, quarantine=quarantine, workers=workers):
            if isinstance(event.what, Exception):
                raise event.what
            hear(event)
    finally:
        for one in missing:
            record.sweep(one.name)  # of workers that were ended
    return there


def explain(shards: Path, error: DavidError) -> None:
    """Where raw data can't be had, but a finished set is there: raises DavidError that says what mending it takes."""
    if isinstance(error, BadSample) or not (shards / manifest.NAME).exists():
        return
    names = [archive["name"] for archive in manifest.load(shards).raw.get("archives", ())]
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    raise DavidError(
        f"{error}; {shards} holds a finished set: mending what `david verify` names takes the raw data that it was "
        f"packed from ({told})"
    ) from error


def advice(there: Manifest) -> str:
    """What mends a set: the command, in words that a shell takes, but for the place of its raw data."""
    if there.belongs:
        return f"mend shards by the command that made it: david label SHARDS --teacher FILE --out {there.folder}"
    if "," in there.raw.get("digest", ""):
        return (
            "it was packed while it was downloaded: copy those shards again, or download and pack into another folder"
        )
    quarantine = "--on-bad quarantine --max-bad 1" if there.quarantined else ""
    words = ["david pack RAW", shlex.quote(str(there.folder)), PackOptions.words(there.options), quarantine]
    return f"mend shards, from the raw data at RAW, by: {' '.join(word for word in words if word)}"
