"""One shard: read, decode, check, encode, write. A pure function of its plan, told step by step to whoever listens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from david.pack.check import evidence
from david.pack.check.conventions import Seen
from david.pack.check.report import PRECISION_EVERY, Report
from david.pack.errors import BadSample, DavidError
from david.pack.raw.archive import Entry
from david.pack.shards import shard
from david.pack.shards.sample import Sample
from david.pack.work.plan import Packing, ShardPlan, one_in
from david.pack.work.record import Done, Record

STAGES = ("read", "decode", "check", "encode", "write")


@dataclass
class Tally:
    """What one sample cost. seconds: by stage; bytes_in: raw, bytes_out: encoded; seen: of its conventions."""

    key: str
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    bytes_in: int = 0
    bytes_out: int = 0
    bad: bool = False
    seen: Seen | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - begin


@dataclass(frozen=True)
class Start:
    """The sample that a worker turns to now, and begins to read."""

    key: str


@dataclass(frozen=True)
class Turn:
    """What a worker does from now on. to: "compute" or "write"; a disk may take as long as it likes, computing not."""

    to: Literal["compute", "write"]


Tell = Callable[[Start | Turn | Tally], None]


def write_shard(
    one: ShardPlan,
    folder: Path,
    packing: Packing,
    *,
    quarantine: bool = False,
    suspects: dict[str, str] | None = None,
    tell: Tell = lambda event: None,
) -> Done:
    """Write a shard, its index and its line in the record.

    quarantine: set bad samples aside with their reasons instead of raising BadSample for the first; suspects: key ->
    reason of samples known to bring a decoder down, treated as bad without being touched; tell: hears each sample's
    start and tally, and when computing and writing begin. Raises OSError where the system refuses to write."""
    suspects = suspects or {}
    report = Report()
    quarantined: list[dict[str, str]] = []

    def encoded() -> Iterator[tuple[str, list[bytes]]]:
        for key, entry in one.samples:
            tell(Start(key))
            tally = Tally(key)
            where = f"{entry.archive}, sample {key}"
            try:
                if key in suspects:
                    raise BadSample(where, suspects[key])
                members = _encode(key, where, entry, packing, report, tally, tell)
            except BadSample as error:
                if not quarantine:
                    raise
                quarantined.append({"id": key, "where": error.where, "reason": error.reason})
                tally.bad = True
                tell(Turn("write"))  # what is buffered may go to the disk now
                tally.seen = Seen(entry.archive, None, error.reason)
            else:
                begin = time.perf_counter()
                tell(Turn("write"))
                yield key, members
                tally.seconds["write"] += time.perf_counter() - begin
            tell(tally)

    path = folder / f"{one.name}.tar"
    options = packing.options
    written = shard.write(path, encoded(), options.image, options.compression, packing.fields, one.expected)
    if not written.samples:
        path.unlink()
        path.with_suffix(".idx").unlink()
    done = Done(one.split, one.name, written if written.samples else None, report, quarantined)
    Record(folder).finish(done)
    return done


def _encode(
    key: str,
    where: str,
    entry: Entry,
    packing: Packing,
    report: Report,
    tally: Tally,
    tell: Tell,
) -> list[bytes]:
    """One sample's members; adds to the report and the tally. Raises BadSample."""
    source, fields, options = packing.source, packing.fields, packing.options
    with tally.stage("read"):
        data = source.read(entry, options.max_pixels)
        tally.bytes_in = sum(map(len, data.values()))
    tell(Turn("compute"))
    with tally.stage("decode"):
        sample = source.decode(key, entry, data, options.max_pixels)
    with tally.stage("check"):
        try:
            sample, counts, seen = evidence.examine(sample, fields)
        except BadSample as error:
            raise BadSample(where, error.reason) from error
        tally.seen = Seen(entry.archive, seen)
    with tally.stage("encode"):
        members = _members(sample, where, packing)
        tally.bytes_out = sum(map(len, members))
    with tally.stage("check"):
        report.add_evidence(seen, counts, sample)
        if one_in(PRECISION_EVERY, key):
            report.add_precision(sample, members, options.compression, fields)
    return members


def _members(sample: Sample, where: str, packing: Packing) -> list[bytes]:
    options = packing.options
    try:
        return shard.encode(sample, options.image, options.compression, packing.fields, packing.version)
    except DavidError as error:
        raise BadSample(where, str(error)) from error
