"""Raw samples to measure on: as many as are asked for, what is there over and over; and what a row says of them."""

from pathlib import Path
from typing import Any

from david.pack.raw import archive
from david.pack.raw.archive import Member
from david.pack.sources import table

Kinds = dict[str, Member]


def samples_of(raw: Path, count: int) -> list[tuple[str, Kinds]]:
    """The first `count` samples of `raw`, over and over where it holds fewer."""
    found = [(key, entry.members) for key, entry in table.chosen(raw).scan(raw).items()]
    return [found[number % len(found)] for number in range(count)]


def repeated(raw: Path, out: Path, count: int) -> Path:
    """Fill the new folder `out` with `count` loose samples: links under new ids to what `raw` holds, unpacked once."""
    out.mkdir()
    unpacked: dict[tuple[Path, str], Path] = {}
    for number, (_, kinds) in enumerate(samples_of(raw, count)):
        for kind, member in kinds.items():
            name, there = out / f"{kind}_{number:07d}{Path(member.name).suffix}", (member.archive, member.name)
            if member.archive.is_dir():
                name.symlink_to((member.archive / member.name).resolve())
            elif there in unpacked:
                name.symlink_to(unpacked[there].name)
            else:
                name.write_bytes(archive.read(member))
                unpacked[there] = name
    return out


def about(raw: Path, count: int) -> dict[str, Any]:
    """What a row says of the samples that it was measured on: the folder's name, how many of them differ, and the mean
    size of one as published. Rows of other samples can't be compared: real ones are larger than drawn ones."""
    chosen = dict(samples_of(raw, count))
    size = sum(member.size for kinds in chosen.values() for member in kinds.values())
    return {"folder": raw.resolve().name, "distinct": len(chosen), "raw_kb": round(size / len(chosen) / 1e3, 1)}


def told(data: dict[str, Any], count: int) -> str:
    """`about` in words, for a table's title."""
    often = f", {data['distinct']} distinct," if data["distinct"] < count else ""
    return f"{count:,} samples{often} of `{data['folder']}`, {data['raw_kb']:,.0f} kB each as published"
