"""The samples that a plan trains on: a shard set's manifest, or SynthHuman as it is published."""

from pathlib import Path
from typing import NamedTuple

from david.bench.plan.lookup import Kept, newest
from david.bench.plan.told import Told, assumed, counted
from david.pack.shards import manifest

SYNTHHUMAN = 298_008
RAW_BYTES = 330e9  # 60 zips
SAMPLE_BYTES = 0.49e6


class Data(NamedTuple):
    """samples: to train on; raw: bytes before packing, None where nothing tells; each: bytes of a packed sample"""

    samples: Told
    raw: Told | None
    each: Told
    shard: Told


def of(shards: Path | None, kept: list[Kept]) -> Data:
    """Raises DavidError where the folder holds no shards."""
    if shards is None:
        row = newest(kept, lambda row: row["suite"] == "loaders" and row.get("data", {}).get("folder") == "synthhuman")
        each = assumed(SAMPLE_BYTES, "bytes", "SynthHuman packed by the defaults, README")
        if row and "david" in row.row["figures"]:
            size = row.row["figures"]["david"]["size"]["median"]
            each = Told(1e3 * size, "bytes", "measured", f"{row.source}, samples of SynthHuman")
        whole = "SynthHuman as published: 298,008 samples in 60 zips, about 330 GB"
        samples, raw = assumed(SYNTHHUMAN, "samples", whole), assumed(RAW_BYTES, "bytes", whole)
        return Data(samples, raw, each, assumed(1000, "samples", "david pack's default"))
    its = manifest.load(shards)
    listed = its.split("train")
    name = f"{shards.name}/{manifest.NAME}"
    count = its.samples("train")
    archives = [one["bytes"] for one in its.raw.get("archives", ()) if "bytes" in one]
    raw = counted(sum(archives), "bytes", name) if archives else None
    each = counted(sum(one.bytes for one in listed) / count, "bytes", name)
    return Data(
        counted(count, "samples", name), raw, each, counted(max(one.samples for one in listed), "samples", name)
    )
