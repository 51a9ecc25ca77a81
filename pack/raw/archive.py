"""Where raw members lie: zips and plain folders, read in place. Nothing is extracted.

A raw folder is walked whole: zips, however their ending is written, and loose files are found in it and in its
subfolders, through links too; each folder is entered once. What can't be looked at (a link that leads nowhere, a folder
without permission) is a DavidError that names it: a disk that isn't mounted must not cost a part of the data unseen.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from isal.isal_zlib import crc32 as crc32_of

from david.pack.errors import BadSample, DavidError
from david.pack.raw import zip_faults, zips

MAX_BYTES = 1 << 30  # of one member
MAX_PIXELS = 1 << 23  # of one sample, unless its user says otherwise: a 4K frame
THREADS = 8  # that read loose files where these are hashed
_BLOCK_BYTES = 1 << 20
_BATCH = 256  # samples hashed by one call

Watch = Callable[[int, int], None]


class Changed(DavidError):
    """A loose file is no longer the one that was listed. What was packed of it before would not fit the rest."""


class Member(NamedTuple):
    """One raw file, with all that is needed to read it.

    archive: the zip or folder that holds it; name: its path therein; size: in bytes; crc: CRC-32 of its bytes, as the
    zip's central directory tells it or as `hashed` found it, None before that; offset, packed, method: of the member in
    the zip (see `zips.Entry`), offset None in a folder; fault: why the zip's member is not read, None where it is."""

    archive: Path
    name: str
    size: int
    crc: int | None
    offset: int | None
    packed: int
    method: int
    fault: str | None = None

    @property
    def where(self) -> str:
        return f"{self.archive}, {self.name}"


class Entry(NamedTuple):
    """What is listed of one sample. members: by kind, `rgb` among them; split: None where the source tells none; told:
    what a list says of it beside its files, as text, which decides bytes as the members do."""

    members: dict[str, Member]
    split: str | None = None
    told: str = ""

    @property
    def archive(self) -> Path:
        """The zip or folder that holds it."""
        return self.members["rgb"].archive


Found = dict[str, Entry]


def archives(raw: Path) -> list[Path]:
    """The zips in `raw` and its subfolders in the order of their paths, and `raw` itself, where files may lie unzipped;
    or the one zip. Raises DavidError where `raw` is neither a folder nor a zip, or holds what can't be looked at."""
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise DavidError(f"{raw}: no folder or zip of raw data there")
    return [*(raw / name for name in sorted(name for name in _files(raw) if _is_zip(name))), raw]


def members(archive: Path) -> Iterator[Member]:
    """The files of an archive, from the central directory of a zip or the listing of a folder (zips left out). Raises
    DavidError where a zip is not whole or not to be trusted, or a folder holds what can't be looked at."""
    if archive.is_dir():
        yield from _loose(archive)
        return
    try:
        listed = zips.entries(archive)
    except zip_faults.Untrusted as error:
        raise DavidError(
            f"{archive}: a zip that is not to be trusted ({error}); two readers could take it for different things: "
            "make it anew, or leave it out"
        ) from error
    except ValueError as error:
        raise DavidError(
            f"{archive}: no whole zip ({error}; {archive.stat().st_size:,} bytes); was it cut short or changed? "
            "download it again"
        ) from error
    except OSError as error:
        raise DavidError(f"{archive}: can't be read: {error.strerror}") from error
    for name, size, crc, offset, packed, method, fault in listed:
        yield Member(archive, name, size, crc, offset, packed, method, fault)


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _loose(folder: Path) -> Iterator[Member]:
    for name, entry in _files(folder).items():
        if not _is_zip(name):
            size = entry.stat().st_size
            yield Member(folder, name, size, None, None, size, zip_faults.STORED)


def _files(folder: Path) -> dict[str, os.DirEntry[str]]:
    """All files of a folder and its subfolders, by their path in it, folder by folder."""
    files: dict[str, os.DirEntry[str]] = {}
    pending, entered = [""], set()
    while pending:
        inner = pending.pop()
        try:
            about = (folder / inner).stat()
            if (about.st_dev, about.st_ino) in entered:  # by way of a link
                continue
            entered.add((about.st_dev, about.st_ino))
            with os.scandir(folder / inner) as listing:
                found = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise DavidError(f"{folder / inner}: can't be listed: {error.strerror}") from error
        for entry in found:
            name = inner + entry.name
            if entry.is_symlink():
                _require_end(folder / name)
            if entry.is_dir():
                pending.append(f"{name}/")
            elif entry.is_file():
                files[name] = entry
            elif _is_zip(name):
                raise DavidError(f"{folder / name}: neither a file nor a folder; take it out of there")
    return files


def _require_end(link: Path) -> None:
    try:
        link.stat()
    except OSError as error:
        raise DavidError(
            f"{link}: a link that leads nowhere (to {link.readlink()}: {error.strerror}); mount the disk that it "
            "leads to, or remove it"
        ) from error


def hashed(
    found: Found,
    bad: dict[str, BadSample] | None = None,
    watch: Watch = lambda done, total: None,
    crc32: Callable[[Member], int] | None = None,
) -> tuple[Found, dict[str, BadSample] | None]:
    """Samples as a source's scan found them, with the CRC-32 of each loose file: of zips it is listed. So that what is
    packed later can be held against what was there. Reads every loose file once, with a few threads.

    watch: called with the bytes read and those to read; crc32: of a member that no archive lists it of, by default
    `crc32_of_file`. Raises BadSample for a file that can't be read; with `bad` its
    sample is left out and put there."""
    keys = [key for key, entry in found.items() if any(member.crc is None for member in entry.members.values())]
    if not keys:
        return found, bad
    total = sum(member.size for key in keys for member in found[key].members.values() if member.crc is None)
    done = 0
    watch(done, total)
    batches = [keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH)]
    read: dict[str, Entry | BadSample] = {}
    with ThreadPoolExecutor(THREADS, "hash") as threads:
        hashes = threads.map(lambda batch: _hash({key: found[key] for key in batch}, crc32 or crc32_of_file), batches)
        for batch, size in hashes:
            read |= batch
            done += size
            watch(done, total)
    faults = {key: one for key, one in read.items() if isinstance(one, BadSample)}
    if bad is None and faults:
        raise next(iter(faults.values()))
    whole = found | {key: entry for key, entry in read.items() if not isinstance(entry, BadSample)}
    return {key: entry for key, entry in whole.items() if key not in faults}, None if bad is None else bad | faults


def _hash(found: Found, crc32: Callable[[Member], int]) -> tuple[dict[str, Entry | BadSample], int]:
    """The same samples hashed, or why they can't be; and the bytes that were read."""
    read: dict[str, Entry | BadSample] = {}
    size = 0
    for key, entry in found.items():
        try:
            members = {
                kind: member._replace(crc=crc32(member)) if member.crc is None else member
                for kind, member in entry.members.items()
            }
            read[key] = entry._replace(members=members)
        except BadSample as error:
            read[key] = error
        size += sum(member.size for member in entry.members.values() if member.crc is None)
    return read, size


def crc32_of_file(member: Member) -> int:
    """Of a loose file. Raises BadSample where it can't be read, Changed where it is of another size than was listed."""
    crc = size = 0
    try:
        with (member.archive / member.name).open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                crc, size = crc32_of(block, crc), size + len(block)
    except OSError as error:
        raise BadSample(member.where, f"can't be read: {error.strerror}") from error
    if size != member.size:
        raise _changed(member, f"{member.size:,} bytes when it was listed, {size:,} now")
    return crc


def comment(archive: Path) -> bytes:
    """A zip's comment. Raises BadSample where it can't be read."""
    try:
        return zips.comment(archive)
    except (ValueError, OSError) as error:
        raise BadSample(str(archive), f"can't be read: {error}") from error


def read(member: Member, max_bytes: int = MAX_BYTES) -> bytes:
    """The member's bytes, held against the size and CRC-32 it was listed with; no look into a zip's directory.

    Raises BadSample where they can't be had or are more than `max_bytes`, Changed where a loose file is another now."""
    try:
        if member.fault:
            raise ValueError(f"it {member.fault}")
        if max(member.size, member.packed) > max_bytes:
            raise ValueError(f"{max(member.size, member.packed):,} bytes, at most {max_bytes:,} are expected")
        if (entry := _entry(member)) is not None:
            return zips.read(member.archive, entry)
        with (member.archive / member.name).open("rb", buffering=0) as file:
            data = _read(file.fileno(), member.size + 1)
    except (ValueError, OSError) as error:
        raise BadSample(member.where, f"can't be read: {error}") from error
    if len(data) != member.size:
        raise _changed(member, f"{member.size:,} bytes when it was listed, {len(data):,} or more now")
    if member.crc not in (None, found := crc32_of(data)):
        raise _changed(member, f"its bytes had CRC-32 {member.crc:08x} when it was listed, and have {found:08x} now")
    return data


def begin(member: Member, size: int) -> bytes:
    """The first bytes of a member, `size` or all of them, checked against nothing: for a look at its header before
    more of it is read or inflated. Raises BadSample where they can't be had."""
    try:
        if member.fault:
            raise ValueError(f"it {member.fault}")
        if (entry := _entry(member)) is not None:
            return zips.begin(member.archive, entry, size)
        with (member.archive / member.name).open("rb", buffering=0) as file:
            return _read(file.fileno(), size)
    except (ValueError, OSError) as error:
        raise BadSample(member.where, f"can't be read: {error}") from error


def _entry(member: Member) -> zips.Entry | None:
    """How a zip lists the member; None where it lies loose."""
    if member.offset is None or member.crc is None:
        return None
    return zips.Entry(member.name, member.size, member.crc, member.offset, member.packed, member.method)


def _read(handle: int, size: int) -> bytes:
    """So many bytes from here on, fewer only where the file ends."""
    data = bytearray()
    while len(data) < size and (block := os.read(handle, size - len(data))):
        data += block
    return bytes(data)


def _changed(member: Member, how: str) -> Changed:
    return Changed(
        f"{member.where}: changed while it was being packed ({how}); leave the raw data alone, and start over with "
        "--restart"
    )


def require_pixels(height: int, width: int, most: int) -> None:
    """Raises ValueError where an image declares more pixels than are read."""
    if height * width > most:
        raise ValueError(f"declares {height:,} rows x {width:,} columns, at most {most:,} pixels are read")


def crc32(member: Member, data: bytes) -> int:
    """The member's CRC-32, computed from `data` where it isn't known."""
    return crc32_of(data) if member.crc is None else member.crc
