"""Where raw members lie: zips and plain folders, read in place. Nothing is extracted."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from david.pack.errors import BadSample, DavidError


@dataclass(frozen=True)
class Member:
    """One raw file. archive: the zip or folder that holds it; name: its path therein; size: in bytes;
    crc: CRC-32 as the zip's central directory tells it, None in a folder."""

    archive: Path
    name: str
    size: int
    crc: int | None


def archives(raw: Path) -> list[Path]:
    """The zips in `raw` in the order of their names, and `raw` itself where files lie in it unzipped; or the one zip.

    Raises DavidError where `raw` is neither a folder nor a zip."""
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise DavidError(f"{raw}: no folder or zip of raw data there")
    return [*sorted(raw.glob("*.zip")), raw]


def members(archive: Path) -> Iterator[Member]:
    """The files of an archive, from the central directory of a zip or the listing of a folder (zips left out)."""
    if archive.is_dir():
        for path in sorted(archive.rglob("*")):
            if path.is_file() and path.suffix != ".zip":
                yield Member(archive, path.relative_to(archive).as_posix(), path.stat().st_size, None)
        return
    try:
        with zipfile.ZipFile(archive) as file:
            listed = [info for info in file.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DavidError(
            f"{archive}: no whole zip ({error}; {archive.stat().st_size:,} bytes); was it cut short? download it again"
        ) from error
    for info in listed:
        yield Member(archive, info.filename, info.file_size, info.CRC)


@lru_cache(maxsize=8)
def _open_zip(archive: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def read(member: Member) -> bytes:
    """The member's bytes, checked against its CRC-32. Raises BadSample where they can't be had."""
    where = f"{member.archive}, {member.name}"
    try:
        if member.archive.is_dir():
            return (member.archive / member.name).read_bytes()
        return _open_zip(member.archive).read(member.name)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
        raise BadSample(where, f"can't be read: {error}") from error


def crc32(member: Member, data: bytes) -> int:
    """The member's CRC-32, computed from `data` where the archive does not tell it."""
    return zlib.crc32(data) if member.crc is None else member.crc
