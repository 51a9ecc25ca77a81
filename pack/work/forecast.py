"""`david pack --dry-run`: what packing would do, from listings alone. Nothing is written, and no image is read."""

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from david.pack import machine
from david.pack.check import conventions
from david.pack.errors import BadSample, DavidError, many
from david.pack.shards import manifest, shard
from david.pack.shards.schema import VERSION
from david.pack.sources import table
from david.pack.sources.source import Source
from david.pack.sources.synthhuman import SynthHuman
from david.pack.work import repair
from david.pack.work.build import BadPolicy, Part, advised, written
from david.pack.work.plan import PackOptions, Plan, plan
from david.pack.work.record import Done, Record, compare

# Bytes of a shard for each byte of its raw members, by image and compression: measured on two of SynthHuman's samples.
# Drawn ones (`david synth`) take a fifth less.
SHARE = {("jpeg", "lz4"): 0.257, ("jpeg", "zstd"): 0.241, ("webp", "lz4"): 0.308, ("webp", "zstd"): 0.292}


@dataclass(frozen=True)
class Forecast:
    """What packing would find and do.

    bad: samples that their listings alone show to be bad; mine: samples and shards that this part writes, by split;
    there: what stands in the folder already, in words; to_write: shards that are still to be written, and samples_left
    in them; sample_bytes: of a packed sample, by `estimate`; free_bytes: on the disk that holds `disk`, with what
    --restart takes away"""

    archives: int
    raw_bytes: int
    samples: int
    bad: int
    refused: bool
    mine: dict[str, tuple[int, int]]
    there: str
    to_write: int
    samples_left: int
    sample_bytes: float
    estimate: str
    disk: Path
    free_bytes: int
    workers: int

    @property
    def needed_bytes(self) -> float:
        return self.samples_left * self.sample_bytes

    def facts(self) -> dict[str, str]:
        """For people: a name and what there is to say of it."""
        raw = f"{many(self.samples, 'sample')} in {many(self.archives, 'archive')}, {size(self.raw_bytes)}"
        bad = f"; {self.bad:,} of them bad by their listings" if self.bad else ""
        stops = ", more than --on-bad and --max-bad allow: packing would stop" if self.refused else ""
        shards = (
            f"{split}: {many(samples, 'sample')} in {many(count, 'shard')}"
            for split, (samples, count) in self.mine.items()
        )
        enough = "enough" if self.needed_bytes <= self.free_bytes else "NOT ENOUGH"
        return {
            "raw": raw + bad + stops,
            "shards": "; ".join(shards),
            "there": self.there,
            "to write": f"{many(self.to_write, 'shard')} of {many(self.samples_left, 'sample')}",
            "needed": f"about {size(self.needed_bytes)}: {self.sample_bytes / 1e3:,.0f} kB a sample, {self.estimate}",
            "free": f"{size(self.free_bytes)} on the disk of {self.disk}: {enough}",
            "workers": many(self.workers, "process", "processes"),
        }


def forecast(
    raw: Path,
    shards: Path,
    options: PackOptions,
    *,
    source: Source | None = None,
    bad: BadPolicy,
    part: Part,
    workers: int | None = None,
    restart: bool = False,
    accept: Collection[str] = (),
) -> Forecast:
    """What `build.build` would find and do, as far as listings tell. Loose files are not read, so that they changed
    shows in their sizes only.

    Raises what `build.build` would before its first sample: DavidError where raw data or what is in `shards` does not
    allow it."""
    source = source or table.chosen(raw)
    conventions.to_accept(accept, source.checks, source.name)
    listed_bad: dict[str, BadSample] | None = {} if bad.quarantine else None
    try:
        found = source.scan(raw, listed_bad)
    except DavidError as error:
        repair.explain(shards, error)
        raise advised(error) from error
    version = manifest.load(shards).version if (shards / manifest.NAME).exists() and not restart else VERSION
    whole = plan(found, options, None, listed_bad, source=source, version=version)
    mine, raw_bytes = part.of_all(whole.shards), sum(one["bytes"] for one in whole.raw["archives"])
    standing = Standing() if restart else _standing(shards, whole, {one.name for one in mine})
    left = [one for one in mine if one.name not in standing.kept]
    packed, packed_bytes = sum(one.samples for one in standing.packed), sum(one.bytes for one in standing.packed)
    if packed:
        each, estimate = packed_bytes / packed, f"as the {packed:,} samples take that are packed there"
    else:
        known = source.name == SynthHuman.name
        share = SHARE[options.image, options.compression] if known else 1.0
        each = share * raw_bytes / max(len(found), 1)
        taken = "as two real samples took; give or take a fifth" if known else "for want of anything packed"
        estimate = f"estimated as {share:.0%} of the raw bytes, {taken}"
    old = written(shards, whole.splits) if restart else []
    freed = sum(path.lstat().st_size for path in old)
    disk = next(path for path in (shards.absolute(), *shards.absolute().parents) if path.exists())
    there = standing.told or _removed(old, freed)
    return Forecast(
        archives=len(whole.raw["archives"]),
        raw_bytes=raw_bytes,
        samples=whole.samples,
        bad=len(whole.quarantined),
        refused=not bad.allows(len(whole.quarantined), whole.samples),
        mine={
            split: (sum(len(one.samples) for one in mine if one.split == split), count)
            for split in whole.splits
            if (count := sum(one.split == split for one in mine))
        },
        there=there,
        to_write=len(left),
        samples_left=sum(len(one.samples) for one in left),
        sample_bytes=each,
        estimate=estimate,
        disk=disk,
        free_bytes=shutil.disk_usage(disk).free + freed,
        workers=workers or machine.cores(),
    )


def _removed(old: list[Path], freed: int) -> str:
    """What --restart takes away, of these files."""
    if not old:
        return "nothing"
    names = f"{old[0].name} to {old[-1].name}" if len(old) > 1 else old[0].name
    return f"{many(len(old), 'file')}, {size(freed)}, which --restart takes away: {names}"


@dataclass(frozen=True)
class Standing:
    """What an earlier pack left. kept: names of shards that need not be written; packed: those with samples"""

    told: str = ""
    kept: frozenset[str] = frozenset()
    packed: tuple[manifest.Shard, ...] = ()


def _standing(shards: Path, whole: Plan, mine: set[str]) -> Standing:
    """What stands in the folder, of the shards `mine`. Raises DavidError where it was begun otherwise."""
    record = Record(shards)
    if (shards / manifest.NAME).exists():
        there = manifest.load(shards)
        _require_same(shards, repair.described(there), whole)
        listed = [one for rows in there.splits.values() for one in rows if one.name in mine]
        packed = tuple(one for one in listed if shard.there(shards, one))
        names = frozenset(mine - {one.name for one in listed} | {one.name for one in packed})
        lost = len(listed) - len(packed)
        told = f"{lost:,} missing or of another size, to be written again" if lost else "none is missing"
        return Standing(
            f"a finished set: of {len(listed):,} shards {told}; packing compares every byte of the others too",
            names,
            packed,
        )
    agreed = record.plan(None)
    if agreed is None or not record.begun():  # without a shard it binds nobody
        return Standing()
    _require_same(shards, agreed, whole)
    lines: list[Done] = [one for name in sorted(mine) if (one := record.done(name))]
    done = [one for one in lines if one.shard is None or shard.there(shards, one.shard)]
    told = f"begun: {len(done):,} of {len(mine):,} shards are finished, and kept where no byte of them changed"
    return Standing(
        told, frozenset(one.name for one in done), tuple(one.shard for one in done if one.shard is not None)
    )


def _require_same(shards: Path, there: dict, whole: Plan) -> None:
    """Raises DavidError where what is there was begun otherwise. Of loose files only sizes are compared."""
    asked = whole.as_json()
    loose = any(m.crc is None for one in whole.shards for _, entry in one.samples for m in entry.members.values())
    theirs, ours = there["raw"], asked["raw"]
    if loose and (theirs["samples"], _bytes(theirs)) == (ours["samples"], _bytes(ours)):
        asked["raw"] = ours | {"digest": theirs["digest"]}
    compare(shards, there, asked)


def _bytes(raw: dict) -> int:
    return sum(one["bytes"] for one in raw.get("archives", ()))


def size(count: float) -> str:
    """Bytes for people: kB, MB or GB."""
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB")) if count >= u), (1e3, "kB"))
    return f"{count / unit:,.1f} {name}"
