"""`david pack RAW SHARDS`: raw data in, a shard set out (see `schema.py`).

Scan the archives' listings, plan the shards, agree with what an earlier run planned, keep the shards it finished,
write the others, and name them all in the manifest.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from david.pack import machine
from david.pack.check import conventions
from david.pack.check.report import Report
from david.pack.errors import BadSample, DavidError
from david.pack.look import report_page
from david.pack.part import Part
from david.pack.raw import archive
from david.pack.shards import manifest, shard
from david.pack.shards.manifest import Manifest
from david.pack.shards.schema import VERSION
from david.pack.sources import table
from david.pack.sources.source import Source
from david.pack.work import crew, repair, survey
from david.pack.work.claims import FOLDER
from david.pack.work.crew import Event
from david.pack.work.plan import SPLITS, PackOptions, Plan, ShardPlan, is_name, plan, splits_of
from david.pack.work.record import Done, Record
from david.pack.work.worker import Tally

Runner = Callable[..., Iterator[Event]]  # writes shards: `crew.run`, `ray_engine.run`
Reading = Callable[[str, int, int], None]
DEFAULT_SHARE, DEFAULT_FREE = 0.01, 10  # of bad samples, see `BadPolicy`


@dataclass(frozen=True)
class BadPolicy:
    """What a bad sample does. quarantine: set it aside, or stop (False); max_share: of all samples, above which
    quarantine stops too; None: 1 %, but up to ten samples are set aside from any set, as long as half of it is left."""

    quarantine: bool = False
    max_share: float | None = None

    def allows(self, set_aside: int, samples: int) -> bool:
        if self.max_share is None:
            return set_aside <= max(DEFAULT_SHARE * samples, min(DEFAULT_FREE, samples / 2))
        return set_aside <= self.max_share * samples

    @classmethod
    def parse(cls, on_bad: str, max_share: float | None = None) -> "BadPolicy":
        """From the words of the command line. Raises DavidError where they are none of ours."""
        if on_bad not in ("stop", "quarantine"):
            raise DavidError(f"--on-bad is `{on_bad}`, but can only be stop or quarantine")
        if max_share is not None and not 0 <= max_share <= 1:
            raise DavidError(f"--max-bad is {max_share}, but is a share from 0 to 1")
        return cls(on_bad == "quarantine", max_share)


def build(
    raw: Path | list[Path],
    shards: Path,
    options: PackOptions | None = None,
    *,
    source: Source | None = None,
    bad: BadPolicy | None = None,
    part: Part | None = None,
    group: str | None = None,
    groups: int = 1,
    workers: int | None = None,
    runner: Runner = crew.run,
    restart: bool = False,
    accept: Collection[str] = (),
    hear: Callable[[Event], None] = lambda event: None,
    planned: Callable[[Plan, list[Done]], None] = lambda plan, done: None,
    reading: Reading = lambda what, done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> Manifest | None:
    """Pack `raw` (a folder, a zip, or some zips) into the folder `shards`; going on with an earlier run is the default.

    Returns the manifest, or None where other parts or groups have still to write theirs. Of a set that is finished,
    shards that changed since are written again, and nothing else.
    source: that the raw data is of, guessed without one; group: names these zips where a set of `groups` groups is
    packed as it is downloaded; runner: writes the shards (`crew.run` here, `ray_engine.run` on a cluster); restart:
    take away what an earlier run wrote; accept: conventions that look wrong and are right, by name, which decides no
    byte of a shard and is told in the report; hear: gets every event; planned: gets the plan and the shards that are
    done already; reading: hears what is read before packing begins, loose files or the shards that are there, with the
    bytes read and to be read; say: gets sentences for people.
    Raises DavidError where the raw data or what is in `shards` does not allow it, or where conventions (`survey.py`)
    are not as expected, BadSample as `bad` says, OSError where the system refuses."""
    options, bad, part = options or PackOptions(), bad or BadPolicy(), part or Part()
    workers, source = workers or machine.cores(), source or table.chosen(raw)
    accept = conventions.to_accept(accept, source.checks, source.name)
    listed_bad: dict[str, BadSample] | None = {} if bad.quarantine else None
    try:
        found = source.scan(raw, listed_bad)
        found, listed_bad = archive.hashed(found, listed_bad, partial(reading, "loose files"), source.crc32)
    except DavidError as error:
        repair.explain(shards, error)
        raise advised(error) from error
    there = manifest.load(shards) if (shards / manifest.NAME).exists() and group is None and not restart else None
    version = there.version if there else VERSION
    whole = plan(found, options, group, listed_bad, source=source, version=version)
    record = Record(shards)
    if there:
        repair.require_same(shards, there, whole)
    with ExitStack() as held:
        with record.alone():
            if restart:
                record.refuse_others()
                remove(shards, whole.splits)
            finished = (shards / manifest.NAME).exists()
            if finished and group is not None:
                record.clear()  # a run that was killed between the two left it
                return manifest.load(shards)
            replaceable = not finished and record.replaceable()
            held.enter_context(record.claim(group or "all", part.number, part.of))
            if not finished:
                record.agree(whole.as_json() | {"groups": groups}, group, replaceable)
                survey.agree(record, group, accept, replaceable)
        mine, watch = part.of_all(whole.shards), partial(reading, "the shards that are there")
        if finished:
            try:
                return repair.repair(
                    whole, mine, shards, runner, workers=workers, hear=hear, planned=planned, watch=watch
                )
            finally:
                with record.alone():
                    record.clear()
        try:
            done = _kept(record, mine, workers, watch)
            kept = {one.name for one in done}
            missing = [one for one in mine if one.name not in kept]
            set_aside = len(whole.quarantined) + sum(len(one.quarantined) for one in done)
            _refuse_too_many(shards, set_aside, whole.samples, bad)
            if missing:
                survey.begin(whole, record, workers, say, accept)
            planned(whole, done)
            signs = survey.Watch(source, accept, survey.accepted(record, group), say)
            for event in runner(missing, shards, whole.packing, quarantine=bad.quarantine, workers=workers):
                if isinstance(event.what, Exception):
                    raise advised(event.what, record.begun())
                hear(event)
                if isinstance(event.what, Tally) and event.what.seen:
                    signs.hear(event.what.seen)
                if isinstance(event.what, Done):
                    set_aside += len(event.what.quarantined)
                    _refuse_too_many(shards, set_aside, whole.samples, bad)
        finally:
            for one in mine:
                record.sweep(one.name)  # of workers that were ended
        return _end(shards, required=False)


def _kept(record: Record, shards: list[ShardPlan], threads: int, watch: archive.Watch) -> list[Done]:
    """Those that an earlier run finished and that are as they were; what is not is forgotten."""
    done = [one for one in (record.done(ours.name) for ours in shards) if one]
    packed = [one.shard for one in done if one.shard]
    changed = {one.name for one in shard.changed(record.shards, packed, threads, watch)}
    for name in changed:
        record.forget(name)
    return [one for one in done if one.name not in changed]


def advised(error: Exception, begun: bool = False) -> Exception:
    """With what a user can do about a bad sample. begun: shards are finished, which other raw data would not give."""
    if not isinstance(error, BadSample):
        return error
    mend = "mend it and pack all again with --restart" if begun else "mend it"
    keep = ", which keeps what is packed" if begun else ""
    return BadSample(error.where, f"{error.reason}; {mend}, or set it aside with --on-bad quarantine{keep}")


def _refuse_too_many(shards: Path, set_aside: int, samples: int, bad: BadPolicy) -> None:
    if not bad.allows(set_aside, samples):
        share = DEFAULT_SHARE if bad.max_share is None else bad.max_share
        raise DavidError(
            f"{shards}: {set_aside} of {samples} samples are bad, more than {share:.2%}; {shards / FOLDER} names them "
            "with reasons; mend the raw data, or allow more with --max-bad"
        )


def merge(shards: Path) -> Manifest:
    """Write the manifest of a set whose shards are all finished, and take away the record.

    Raises DavidError where the folder holds no record or some shards are missing."""
    if not Record(shards).folder.exists() and not (shards / manifest.NAME).exists():
        raise DavidError(f"{shards}: nothing was packed there; begin with: david pack RAW {shards}")
    merged = _end(shards, required=True)
    assert merged is not None
    return merged


def _end(shards: Path, required: bool) -> Manifest | None:
    """Write the manifest, or take the one that another job wrote; None where shards or groups are still missing.

    required: raise DavidError then, which names what is missing."""
    record = Record(shards)
    with record.alone():
        if (shards / manifest.NAME).exists():
            written = manifest.load(shards)
        else:
            plans = record.plans()
            names = [name for one in plans for _, name, _ in one["shards"]]
            done = [one for one in map(record.done, names) if one and (not one.shard or shard.there(shards, one.shard))]
            if not plans or len(plans) < plans[0]["groups"] or len(done) < len(names):
                if not required:
                    return None
                found = {one.name for one in done}
                missing = [name for name in names if name not in found]
                told = (
                    f"{len(missing)} of {len(names)} shards are missing or damaged (the first: {missing[0]})"
                    if missing
                    else "groups are missing"
                )
                raise DavidError(f"{shards}: {told}; run the parts that write them")
            written = _manifest(shards, plans, done)
            report_page.write(written)
            written.write()
        record.clear()
    return written


def _manifest(shards: Path, plans: list[dict[str, Any]], done: list[Done]) -> Manifest:
    report = Report()
    report.accepted = survey.accepted(Record(shards))
    for one in done:
        report.merge(one.report)
    splits = splits_of(split for one in plans for split, _, _ in one["shards"])
    return Manifest(
        folder=shards,
        options=plans[0]["options"],
        splits={split: tuple(one.shard for one in done if one.split == split and one.shard) for split in splits},
        raw={
            "archives": [named for one in plans for named in one["raw"]["archives"]],
            "samples": sum(one["raw"]["samples"] for one in plans),
            "digest": ",".join(one["raw"]["digest"] for one in plans),
        },
        report=report.as_json(),
        quarantined=[sample for one in plans for sample in one["quarantined"]]
        + [sample for one in done for sample in one.quarantined],
        libraries=plans[0]["libraries"],
        fields=manifest.parse_fields(plans[0]["fields"]),
        version=plans[0]["version"],
    )


def remove(shards: Path, splits: tuple[str, ...]) -> None:
    """Take away what packing wrote to a folder, and nothing else. Call it under the record's lock."""
    for path in written(shards, splits):
        path.unlink(missing_ok=True)
    Record(shards).empty()


def written(shards: Path, splits: tuple[str, ...]) -> list[Path]:
    """The files of a set that packing wrote to a folder, shards of these splits and of the usual ones, the manifest
    first; not its record."""
    names = {*SPLITS, *splits}
    tars = [path for path in sorted(shards.glob("*")) if path.suffix in (".tar", ".idx") and is_name(path.stem, names)]
    return [
        path
        for path in (shards / manifest.NAME, shards / report_page.NAME, *tars)
        if path.is_file() or path.is_symlink()
    ]
