"""`david download OUT --pack SHARDS --delete`: a shard set, with room for it and for a few zips only.

Zips come in groups (`chunks.groups`); each is packed as `SPLIT-GROUP-NUMBER` and deleted while the next ones already
download. A group's zips go once all its shards are whole and recorded, so a run that is killed goes on with the group
that it was at, and the same names give the same bytes.
"""

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from david.pack.check import conventions
from david.pack.errors import DavidError
from david.pack.fetch import chunks
from david.pack.fetch.download import download_groups
from david.pack.fetch.fetcher import DownloadOptions, Report
from david.pack.shards import manifest, shard
from david.pack.shards.manifest import Manifest
from david.pack.sources.synthhuman import SynthHuman
from david.pack.work import repair
from david.pack.work.build import BadPolicy, build, merge
from david.pack.work.crew import Event
from david.pack.work.plan import PackOptions, Plan, encoders
from david.pack.work.record import Done, Record, compare


def download_and_pack(
    out: Path,
    shards: Path,
    names: Sequence[str],
    options: DownloadOptions | None = None,
    pack_options: PackOptions | None = None,
    *,
    zips_on_disk: int = 6,
    bad: BadPolicy | None = None,
    accept: Collection[str] = (),
    report: Report | None = None,
    hear: Callable[[Event], None] = lambda event: None,
    planned: Callable[[Plan, list[Done]], None] = lambda plan, done: None,
    say: Callable[[str], None] = lambda text: None,
) -> Manifest:
    """Bring zips, pack them group by group, and delete them; returns the set's manifest.

    zips_on_disk: at most, and at least 3; half of them make a group while the others come. `report` as in `download`,
    `bad`, `accept`, `hear`, `planned` and `say` as in `build`. Raises as these two do, and where `shards` was begun
    otherwise."""
    pack_options, source = pack_options or PackOptions(), SynthHuman()
    accept = conventions.to_accept(accept, source.checks, source.name)
    if zips_on_disk < 3:
        raise DavidError(f"room for {zips_on_disk} zips: at least 3 must fit, one of each scenario")
    groups = chunks.groups(names, at_most=max(3, zips_on_disk // 6 * 3))
    if (shards / manifest.NAME).exists():
        there = manifest.load(shards)
        _require_same(shards, repair.described(there), pack_options, names)
        _delete(out, names)
        return there
    for plan in Record(shards).plans():
        if plan["groups"] != len(groups):
            raise DavidError(
                f"{shards}: was begun as {plan['groups']} groups of zips, now it would be {len(groups)}; ask for the "
                "same zips and room, or pack into another folder"
            )
    left = {f"{number:02d}": group for number, group in enumerate(groups)}
    for group, names_of_group in list(left.items()):
        if plan := _packed(shards, group):
            _require_same(shards, plan, pack_options, names_of_group)
            _delete(out, left.pop(group))
    built = None
    with closing(download_groups(out, list(left.values()), options, report, zips_on_disk=zips_on_disk)) as coming:
        for group, paths in zip(left, coming, strict=True):
            built = build(
                list(paths),
                shards,
                pack_options,
                source=source,
                bad=bad,
                accept=accept,
                group=group,
                groups=len(groups),
                hear=hear,
                planned=planned,
                say=say,
            )
    return built or merge(shards)


def _packed(shards: Path, group: str) -> dict[str, Any] | None:
    """The plan of a group whose shards are all there and whole, so that its zips aren't needed any more."""
    record = Record(shards)
    if not record.plan_path(group).exists():
        return None
    plan = json.loads(record.plan_path(group).read_bytes())
    for _, name, _ in plan["shards"]:
        done = record.done(name)
        if done is None or (done.shard and not shard.intact(shards, done.shard)):
            return None
    return plan


def _require_same(shards: Path, there: dict[str, Any], options: PackOptions, names: Sequence[str]) -> None:
    """Raises DavidError where what was packed is of other options, encoders or zips than now."""
    compare(shards, there, {"options": options.as_json(), "libraries": encoders(), "raw": there["raw"]})
    packed = {archive["name"] for archive in there["raw"]["archives"]}
    if packed != set(names):
        raise DavidError(
            f"{shards}: was begun with {', '.join(sorted(packed))} together, now {', '.join(sorted(names))} are asked "
            "for; ask for the same zips and room, or pack into another folder"
        )


def _delete(out: Path, names: Sequence[str]) -> None:
    for name in names:
        (out / name).unlink(missing_ok=True)
