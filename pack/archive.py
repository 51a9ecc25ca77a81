"""Where raw members lie: zips and plain folders, read in place. Nothing is extracted."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from isal.isal_zlib import crc32 as crc32_of

from david.pack import zips
from david.pack.errors import BadSample, DavidError

MAX_BYTES = 1 << 30  # of one member


class Member(NamedTuple):
    """One raw file, with all that is needed to read it.

    archive: the zip or folder that holds it; name: its path therein; size: in bytes; crc: CRC-32 as the zip's central
    directory tells it; offset, packed, method: of the member in the zip (see `zips.Entry`). In a folder `crc` and
    `offset` are None."""

    archive: Path
    name: str
    size: int
    crc: int | None
    offset: int | None
    packed: int
    method: int

    @property
    def where(self) -> str:
        return f"{self.archive}, {self.name}"


def archives(raw: Path) -> list[Path]:
    """The zips in `raw` in the order of their names, and `raw` itself where files lie in it unzipped; or the one zip.

    Raises DavidError where `raw` is neither a folder nor a zip."""
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise DavidError(f"{raw}: no folder or zip of raw data there")
    return [*sorted(path for path in raw.glob("*.zip") if path.is_file()), raw]


def members(archive: Path) -> Iterator[Member]:
    """The files of an archive, from the central directory of a zip or the listing of a folder (zips left out, folders
    that are links not entered). Raises DavidError where a zip is not whole or not to be trusted."""
    if archive.is_dir():
        yield from _loose(archive)
        return
    try:
        listed = zips.entries(archive)
    except ValueError as error:
        raise DavidError(
            f"{archive}: no whole zip ({error}; {archive.stat().st_size:,} bytes); was it cut short or changed? "
            "download it again"
        ) from error
    except OSError as error:
        raise DavidError(f"{archive}: can't be read: {error.strerror}") from error
    for name, size, crc, offset, packed, method in listed:
        yield Member(archive, name, size, crc, offset, packed, method)


def _loose(folder: Path) -> Iterator[Member]:
    pending = [""]
    while pending:
        inner = pending.pop()
        try:
            with os.scandir(folder / inner) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise DavidError(f"{folder / inner}: can't be listed: {error.strerror}") from error
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{inner}{entry.name}/")
            elif entry.is_file() and not entry.name.endswith(".zip"):
                size = entry.stat().st_size
                yield Member(folder, inner + entry.name, size, None, None, size, zips.STORED)


def comment(archive: Path) -> bytes:
    """A zip's comment. Raises BadSample where it can't be read."""
    try:
        return zips.comment(archive)
    except (ValueError, OSError) as error:
        raise BadSample(str(archive), f"can't be read: {error}") from error


def read(member: Member, max_bytes: int = MAX_BYTES) -> bytes:
    """The member's bytes, checked against what its archive tells. Costs no look into the central directory.

    Raises BadSample where they can't be had or are more than `max_bytes`."""
    archive, name, size, crc, offset, packed, method = member
    try:
        if max(size, packed) > max_bytes:
            raise ValueError(f"{max(size, packed):,} bytes, at most {max_bytes:,} are expected")
        if offset is not None and crc is not None:
            return zips.read(archive, zips.Entry(name, size, crc, offset, packed, method))
        with (archive / name).open("rb", buffering=0) as file:
            data = file.read(size + 1)
        if len(data) != size:
            raise ValueError(f"{size:,} bytes when it was listed, {len(data):,} or more now")
        return data
    except (ValueError, OSError) as error:
        raise BadSample(member.where, f"can't be read: {error}") from error


def crc32(member: Member, data: bytes) -> int:
    """The member's CRC-32, computed from `data` where the archive does not tell it."""
    return crc32_of(data) if member.crc is None else member.crc
