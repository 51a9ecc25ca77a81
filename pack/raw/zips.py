"""Zips as they lie on the disk: the listing of the central directory, and one member's bytes read in place.

After PKWARE's APPNOTE 6.3.10 (sections 4.3.6 to 4.3.16, 4.4, 4.5.3). Stricter than `zipfile`: a zip is refused where
two readers could take it for different things (data behind its end, two ends, entries that overlap or are listed
twice, local headers that disagree with the directory), and nothing is inflated beyond its declared size. Every such
fault is a ValueError that says what was found. A member that can't be read here (a link, one that is encrypted, or
neither stored nor deflated) is listed with what is wrong with it, for it may be nobody's concern (`zip_faults.py`).
"""

import os
import re
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal.isal_zlib import crc32
from numpy.lib.stride_tricks import sliding_window_view

from david.pack.raw.zip_faults import STORED, UNREADABLE, dishonest, require_honest, unreadable

MAX_DIRECTORY_BYTES = 1 << 28  # of central directory: two million members
_END = struct.Struct("<4s4H2LH")
_LOCATOR64 = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = np.dtype(
    [(name, "<u2") for name in ("made_by", "needed", "flags", "method", "time", "date")]
    + [(name, "<u4") for name in ("crc", "packed", "size")]
    + [(name, "<u2") for name in ("name_size", "extra_size", "comment_size", "disk", "internal")]
    + [(name, "<u4") for name in ("attributes", "offset")]
)  # behind its signature
_LENGTHS = struct.Struct("<4s24x3H12x")  # an entry's signature, and the lengths of its name, extra field and comment
_SIGNATURE_BYTES = 4
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR, _UTF8 = 0x0008, 0x0800  # flag bits: CRC and sizes may follow the data; the name is UTF-8
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 field"
_BEGIN_ROOM = 4096  # bytes that deflate may need more than it gives: tables of codes, and blocks that don't shrink
_EXTRA_GUESS = 64  # bytes of a local header's extra field that are read along with its name


class Entry(NamedTuple):
    """One file of a zip. name: as decoded; size, packed: its bytes unpacked and as they lie there; crc: CRC-32 of the
    unpacked bytes; offset: of its local header in the zip; method: STORED or DEFLATED; fault: what keeps it from being
    read, as "is a link", None where nothing does."""

    name: str
    size: int
    crc: int
    offset: int
    packed: int
    method: int
    fault: str | None = None


class End(NamedTuple):
    """What the end of a zip tells. entries: how many; offset, size: of the central directory, in bytes."""

    entries: int
    offset: int
    size: int
    comment: bytes


def comment(path: Path) -> bytes:
    """A zip's comment. Raises ValueError where the file is no whole zip, OSError where it can't be read."""
    with path.open("rb", buffering=0) as file:
        return _end(file.fileno()).comment


def entries(path: Path) -> list[Entry]:
    """A zip's files in the order of its central directory, folders left out.

    Raises ValueError where the file is no whole zip, Untrusted where it lists what no honest zip does, OSError where it
    can't be read."""
    with path.open("rb", buffering=0) as file:
        end = _end(file.fileno())
        if end.size > MAX_DIRECTORY_BYTES:
            raise ValueError(f"a central directory of {end.size:,} bytes; at most {MAX_DIRECTORY_BYTES:,} are read")
        return _entries(_pread(file.fileno(), end.size, end.offset), end)


def read(path: Path, entry: Entry) -> bytes:
    """One file's bytes, checked against its local header, its size and its CRC-32.

    Raises ValueError where they disagree, OSError where the zip can't be read."""
    with path.open("rb", buffering=0) as file:
        packed = _pread(file.fileno(), entry.packed, _data_offset(file.fileno(), entry))
    data = packed if entry.method == STORED else _inflate(packed, entry.size)
    if len(data) != entry.size:
        raise ValueError(f"declares {entry.size:,} bytes but holds {len(data):,}")
    if (found := crc32(data)) != entry.crc:
        raise ValueError(f"its bytes have CRC-32 {found:08x}, the zip says {entry.crc:08x}")
    return data


def begin(path: Path, entry: Entry, size: int) -> bytes:
    """The first bytes of one file, `size` or all of them; only as much as that is read and inflated.

    Raises as `read` does, but for what only the whole file can show."""
    with path.open("rb", buffering=0) as file:
        handle = file.fileno()
        packed = _pread(handle, min(entry.packed, size + _BEGIN_ROOM), _data_offset(handle, entry))
    if entry.method == STORED:
        return packed[:size]
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size)
    except zlib.error as error:
        raise ValueError(f"its deflated bytes are damaged ({error})") from error


def _inflate(packed: bytes, size: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, size + 1)
    except zlib.error as error:
        raise ValueError(f"its deflated bytes are damaged ({error})") from error
    if len(data) > size:
        raise ValueError(f"declares {size:,} bytes but inflates to more")
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"its {len(packed):,} deflated bytes are not one whole stream")
    return data


def _pread(handle: int, size: int, offset: int) -> bytes:
    data = _pread_upto(handle, size, offset)
    if len(data) != size:
        raise ValueError(f"cut short: {size:,} bytes expected at {offset:,}, {len(data):,} are there")
    return data


def _pread_upto(handle: int, size: int, offset: int) -> bytes:
    """So many bytes, or as many as there are up to the file's end."""
    data = os.pread(handle, size, offset)
    while len(data) < size and (more := os.pread(handle, size - len(data), offset + len(data))):
        data += more  # a file system may give fewer bytes than it has
    return data


def _end(handle: int) -> End:
    """The end of central directory, in its zip64 form where there is one."""
    file_size = os.fstat(handle).st_size
    start = max(0, file_size - _END.size - _FULL16)
    tail = _pread(handle, file_size - start, start)
    ends = [found.start() for found in re.finditer(b"PK\x05\x06", tail) if _ends_file(tail, found.start())]
    if len(ends) != 1:
        raise ValueError("no end of central directory closes the file" if not ends else "two ends close the file")
    _, *disks, here, total, size, offset, _ = _END.unpack_from(tail, ends[0])
    words = [*disks, here, total, size, offset]
    position = start + ends[0]
    if position >= _LOCATOR64.size:
        signature, _, position64, _ = _LOCATOR64.unpack(_pread(handle, _LOCATOR64.size, position - _LOCATOR64.size))
        if signature == b"PK\x06\x07":
            position, words = position64, _end64(handle, position64, position - _LOCATOR64.size, words)
    disk, directory_disk, here, total, size, offset = words
    if disk or directory_disk or here != total:
        raise ValueError("one part of a zip in several parts")
    if offset + size != position:
        raise ValueError(f"its directory of {size:,} bytes at {offset:,} does not meet its end at {position:,}")
    return End(total, offset, size, tail[ends[0] + _END.size :])


def _ends_file(tail: bytes, position: int) -> bool:
    whole = position + _END.size <= len(tail)
    return whole and position + _END.size + _END.unpack_from(tail, position)[-1] == len(tail)


def _end64(handle: int, position: int, locator: int, words: list[int]) -> list[int]:
    """The six words of the zip64 end at `position`, which must agree with the plain end's where those are not full."""
    if position + _END64.size > locator:
        raise ValueError(f"its zip64 end is said to lie at {position:,}, beyond its locator")
    signature, size, _, _, *words64 = _END64.unpack(_pread(handle, _END64.size, position))
    full = (_FULL16,) * 4 + (_FULL32,) * 2
    agree = all(plain in (mark, long) for plain, mark, long in zip(words, full, words64, strict=True))
    if signature != b"PK\x06\x06" or position + 12 + size != locator or not agree:
        raise ValueError("its zip64 end disagrees with its end")
    return words64


def _entries(directory: bytes, end: End) -> list[Entry]:
    starts = _starts(directory, end)
    if not len(starts):
        return []
    rows = sliding_window_view(np.frombuffer(directory, np.uint8), _LENGTHS.size)[starts]
    table = np.ascontiguousarray(rows[:, _SIGNATURE_BYTES:]).view(_ENTRY)[:, 0]
    name_starts = starts + _LENGTHS.size
    name_ends = name_starts + table["name_size"]
    raw_names = [directory[i:j] for i, j in zip(name_starts.tolist(), name_ends.tolist(), strict=True)]
    names = [_name(raw, flags) for raw, flags in zip(raw_names, table["flags"].tolist(), strict=True)]
    words = np.stack([table["size"], table["packed"], table["offset"]], axis=1).astype(np.int64)
    for row in np.flatnonzero((words == _FULL32).any(axis=1)).tolist():
        stop = int(name_ends[row])
        words[row] = _long(directory[stop : stop + int(table["extra_size"][row])], words[row].tolist())
    size, packed, offset = words.T
    stop = offset + _LOCAL.size + table["name_size"] + packed
    require_honest(dishonest(names, table, size, packed, outside=stop > end.offset), names)
    order = offset.argsort()
    overlapping = int((offset[order][1:] < stop[order][:-1]).sum())
    if overlapping:
        raise ValueError(f"{overlapping:,} of {len(names):,} members overlap with others")
    columns = (names, *(column.tolist() for column in (size, table["crc"], offset, packed, table["method"])))
    listed = map(Entry, *columns, unreadable(names, table))
    return [entry for entry in listed if not entry.name.endswith("/")]


def _starts(directory: bytes, end: End) -> np.ndarray:
    """Where each entry begins in the directory: (entries,) int64."""
    if end.entries * _LENGTHS.size > end.size:
        raise ValueError(f"a directory of {end.size:,} bytes can't list {end.entries:,} members")
    starts = []
    position = 0
    while len(starts) < end.entries and position + _LENGTHS.size <= end.size:
        signature, name_size, extra_size, comment_size = _LENGTHS.unpack_from(directory, position)
        if signature != b"PK\x01\x02":
            raise ValueError(f"its directory lists no member at byte {position:,}")
        starts.append(position)
        position += _LENGTHS.size + name_size + extra_size + comment_size
    if len(starts) != end.entries or position != end.size:
        raise ValueError(
            f"{len(starts):,} of {end.entries:,} members fill {position:,} of the {end.size:,} bytes of its directory"
        )
    return np.array(starts, np.int64)


def _name(raw: bytes, flags: int) -> str:
    return raw.decode("ascii" if raw.isascii() else "utf-8" if flags & _UTF8 else "cp437")


def _long(extra: bytes, words: list[int]) -> list[int]:
    """`words`, with those that are full taken from the zip64 field of an extra field, in order."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1 and size >= 8 * words.count(_FULL32) and position + size <= len(extra):
            values = iter(struct.unpack_from(f"<{size // 8}Q", extra, position))
            long = [next(values) if word == _FULL32 else word for word in words]
            if max(long) >> 60:
                raise ValueError(f"a zip64 field tells of {max(long):,} bytes")
            return long
        position += size
    raise ValueError("a zip64 field is missing or too short")


def _data_offset(handle: int, entry: Entry) -> int:
    """Where a member's data begin, once its local header agrees with the directory."""
    start = entry.offset
    header = _pread_upto(handle, _LOCAL.size + len(entry.name.encode()) + _EXTRA_GUESS, start)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise ValueError(f"no local header at {start:,}")
    _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack_from(header)
    length = _LOCAL.size + name_size + extra_size
    if length > len(header):
        header = _pread(handle, length, start)
    name = _name(header[_LOCAL.size : _LOCAL.size + name_size], flags)
    if _FULL32 in (size, packed):
        size, packed = _long(header[_LOCAL.size + name_size : length], [size, packed])
    told, known = (method, crc, packed, size), (entry.method, entry.crc, entry.packed, entry.size)
    expected = (entry.method, 0, 0, 0) if flags & _DESCRIPTOR and not any(told[1:]) else known
    if name != entry.name or flags & UNREADABLE or told != expected:
        raise ValueError(
            f"its local header ({name!r}, flags {flags:#x}, method, CRC-32 and sizes {told}) disagrees with the zip's "
            f"directory {known}"
        )
    return start + length
