"""`david pack RAW SHARDS`: raw data in, a shard set out (see `schema.py`).

Scan the archives' listings, plan the shards, agree with what an earlier run planned, keep the shards it finished,
write the others, and name them all in the manifest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from david.pack import archive, crew, files, manifest, report_page, shard
from david.pack.crew import Event
from david.pack.errors import BadSample, DavidError
from david.pack.manifest import Manifest
from david.pack.plan import PackOptions, Plan, ShardPlan, plan
from david.pack.record import FOLDER, Done, Record, compare
from david.pack.report import Report
from david.pack.schema import SPLITS
from david.pack.sources import synthhuman

Engine = Callable[..., Iterator[Event]]


@dataclass(frozen=True)
class Part:
    """Every n-th shard, beginning with the i-th: what one of n jobs writes. number: 1 .. of."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise DavidError(f"part {self.number}/{self.of}: a part is i/n with i from 1 to n")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Part":
        """`i/n` as a Part. Raises DavidError where it is none."""
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise DavidError(f"part `{text}`: a part is i/n, such as 3/16")
        return cls(int(number), int(of))

    def of_plan(self, whole: Plan) -> list[ShardPlan]:
        return list(whole.shards[self.number - 1 :: self.of])


@dataclass(frozen=True)
class BadPolicy:
    """What a bad sample does. quarantine: set it aside, or stop (False); max_share: of all samples, above which
    quarantine stops too."""

    quarantine: bool = False
    max_share: float = 0.01

    @classmethod
    def parse(cls, on_bad: str, max_share: float) -> "BadPolicy":
        """From the words of the command line. Raises DavidError where they are none of ours."""
        if on_bad not in ("stop", "quarantine"):
            raise DavidError(f"--on-bad is `{on_bad}`, but can only be stop or quarantine")
        if not 0 <= max_share <= 1:
            raise DavidError(f"--max-bad is {max_share}, but is a share from 0 to 1")
        return cls(on_bad == "quarantine", max_share)


def build(
    raw: Path | list[Path],
    shards: Path,
    options: PackOptions | None = None,
    *,
    bad: BadPolicy | None = None,
    part: Part | None = None,
    group: str | None = None,
    groups: int = 1,
    workers: int | None = None,
    engine: Engine = crew.run,
    restart: bool = False,
    hear: Callable[[Event], None] = lambda event: None,
    planned: Callable[[Plan, list[Done]], None] = lambda plan, done: None,
    hashing: archive.Watch = lambda done, total: None,
) -> Manifest | None:
    """Pack `raw` (a folder, a zip, or some zips) into the folder `shards`; going on with an earlier run is the default.

    Returns the manifest, or None where other parts or groups have still to write theirs.
    group: names these zips where a set of `groups` groups is packed as it is downloaded; engine: writes the shards
    (`crew.run` here, `ray_engine.run` on a cluster); restart: take away what an earlier run wrote; hear: gets every
    event; planned: gets the plan and the shards that are done already; hashing: gets the bytes read and to be read
    while loose files are hashed.
    Raises DavidError where the raw data or what is in `shards` does not allow it, BadSample as `bad` says."""
    options, bad, part = options or PackOptions(), bad or BadPolicy(), part or Part()
    listed_bad: dict[str, BadSample] | None = {} if bad.quarantine else None
    found, listed_bad = archive.hashed(synthhuman.scan(raw, listed_bad), listed_bad, hashing)
    whole = plan(found, options, group, listed_bad)
    agreed = whole.as_json() | {"groups": groups}
    if restart:
        remove(shards)
    if (shards / manifest.NAME).exists():
        there = manifest.load(shards)
        if group is None:
            compare(shards, {"options": there.options, "libraries": there.libraries, "raw": there.raw}, agreed)
        Record(shards).clear()  # a run that was killed between the two left it
        return there
    record = Record(shards)
    with record.claim(f"{group or 'all'}-{part}"):
        record.agree(agreed, group)
        mine = part.of_plan(whole)
        try:
            done = [one for one in (_kept(record, ours.name) for ours in mine) if one]
            planned(whole, done)
            kept = {one.name for one in done}
            missing = [one for one in mine if one.name not in kept]
            set_aside = len(whole.quarantined) + sum(len(one.quarantined) for one in done)
            _refuse_too_many(shards, set_aside, whole.samples, bad)
            for event in engine(missing, shards, options, quarantine=bad.quarantine, workers=workers or crew.cores()):
                if isinstance(event.what, DavidError):
                    raise event.what
                hear(event)
                if isinstance(event.what, Done):
                    set_aside += len(event.what.quarantined)
                    _refuse_too_many(shards, set_aside, whole.samples, bad)
        finally:
            for one in mine:
                for path in (
                    shards / f"{one.name}.tar",
                    shards / f"{one.name}.idx",
                    record.folder / f"{one.name}.json",
                ):
                    files.sweep(path)  # of workers that were ended
    return merge(shards) if complete(shards) else None


def _kept(record: Record, name: str) -> Done | None:
    """A shard that an earlier run finished and that is as it was; what is not is forgotten."""
    done = record.done(name)
    if done and done.shard and not shard.intact(record.shards, done.shard):
        record.forget(name)
        return None
    return done


def _refuse_too_many(shards: Path, set_aside: int, samples: int, bad: BadPolicy) -> None:
    if set_aside > bad.max_share * samples:
        raise DavidError(
            f"{shards}: {set_aside} of {samples} samples are bad, more than {bad.max_share:.2%}; {shards / FOLDER} "
            "names them with reasons; mend the raw data, or allow more with --max-bad"
        )


def complete(shards: Path) -> bool:
    """Whether every group has been planned and every planned shard finished."""
    record = Record(shards)
    plans = record.plans()
    names = [name for one in plans for _, name, _ in one["shards"]]
    return (
        bool(plans) and len(plans) == plans[0]["groups"] and all((record.folder / f"{n}.json").exists() for n in names)
    )


def merge(shards: Path) -> Manifest:
    """Write the manifest of a set whose shards are all finished, and take away the record.

    Raises DavidError where the folder holds no record or some shards are missing."""
    if (shards / manifest.NAME).exists():
        Record(shards).clear()
        return manifest.load(shards)
    record = Record(shards)
    plans = record.plans()
    if not plans:
        raise DavidError(f"{shards}: nothing was packed there; begin with: david pack RAW {shards}")
    done = {name: record.done(name) for one in plans for _, name, _ in one["shards"]}
    missing = [name for name, one in done.items() if one is None]
    if missing or len(plans) < plans[0]["groups"]:
        told = (
            f"{len(missing)} of {len(done)} shards are missing (the first: {missing[0]})"
            if missing
            else "groups are missing"
        )
        raise DavidError(f"{shards}: {told}; run the parts that write them")
    written = _manifest(shards, plans, [one for one in done.values() if one])
    report_page.write(written)
    written.write()
    record.clear()
    return written


def _manifest(shards: Path, plans: list[dict[str, Any]], done: list[Done]) -> Manifest:
    report = Report()
    for one in done:
        report.merge(one.report)
    return Manifest(
        folder=shards,
        options=plans[0]["options"],
        splits={split: tuple(one.shard for one in done if one.split == split and one.shard) for split in SPLITS},
        raw={
            "archives": [named for one in plans for named in one["raw"]["archives"]],
            "samples": sum(one["raw"]["samples"] for one in plans),
            "digest": ",".join(one["raw"]["digest"] for one in plans),
        },
        report=report.as_json(),
        quarantined=[sample for one in plans for sample in one["quarantined"]]
        + [sample for one in done for sample in one.quarantined],
        libraries=plans[0]["libraries"],
    )


def remove(shards: Path) -> None:
    """Take away what packing wrote to a folder, and nothing else."""
    record = Record(shards)
    names = {name for one in record.plans() for _, name, _ in one["shards"]}
    if (shards / manifest.NAME).exists():
        names |= {one.name for rows in manifest.load(shards).splits.values() for one in rows}
        (shards / manifest.NAME).unlink()
        (shards / report_page.NAME).unlink(missing_ok=True)
    for name in names:
        for suffix in (".tar", ".idx"):
            (shards / f"{name}{suffix}").unlink(missing_ok=True)
    record.clear()
