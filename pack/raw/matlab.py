"""Files of MATLAB, read here, and of HDF5, read by h5py where it is installed.

A MATLAB file from before HDF5 (MAT-File Format, "Level 5 MAT-File Format") is a header of 128 bytes and then elements:
a type, a length, so many bytes, and padding to 8 bytes; one of 4 bytes or fewer may stand within its tag. Those of type
15 are deflated elements, those of type 14 arrays: flags, dimensions, a name, and what the class holds. It is read here,
since what others read it with does not survive a damaged one.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from david.pack.errors import BadSample, DavidError

ADVICE = "install what reads it: pip install -e '.[nyu]' in the folder of david"
MOST_BYTES = 1 << 28  # of one file, inflated
_HEADER, _TAG, _ARRAY, _DEFLATED = 128, 8, 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_DEEPEST = 8  # arrays within arrays
_MOST_ENTRIES = 1 << 20  # of a cell array or of a structure


def load(path: Path, data: bytes | None = None, most: int = MOST_BYTES) -> dict[str, Any]:
    """What a MATLAB file from before HDF5 holds, by name: arrays of numbers; texts; arrays of objects for cells; arrays
    of dicts for structures; None for what is of another class.

    data: its bytes, where they are read already; most: bytes that it may inflate to. Raises DavidError where it is no
    such file."""
    try:
        data = path.read_bytes() if data is None else data
        order = {b"IM": "<", b"MI": ">"}.get(data[126:_HEADER])
        if order is None or data[:10] == b"MATLAB 7.3":
            raise ValueError(f"it begins with {data[:20]!r}")
        found, left = {}, most
        for kind, body in _elements(data[_HEADER:], order):
            if kind == _DEFLATED:
                stream = zlib.decompressobj()
                body = stream.decompress(body, left + 1)
                ((kind, body),) = _elements(body, order) if len(body) <= left else [(0, body)]
            left -= len(body)
            if left < 0:
                raise ValueError(f"it inflates to more than {most:,} bytes")
            if kind == _ARRAY:
                name, value = _array(body, order, 0)
                found[name] = value
        return found
    except (ValueError, TypeError, IndexError, StopIteration, OSError, struct.error, zlib.error) as error:
        raise DavidError(f"{path}: can't be read as a MATLAB file ({type(error).__name__}: {error})") from error


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of one element after the other. Raises ValueError where one does not lie within."""
    place = 0
    while place < len(data):
        kind, length = struct.unpack_from(f"{order}2L", data, place)
        if kind >> 16:  # within its tag
            kind, length, start, stop = kind & 0xFFFF, kind >> 16, place + 4, place + _TAG
            if length > 4:
                raise ValueError(f"an element of {length} bytes within its tag")
        else:
            start = place + _TAG
            stop = start + length + (0 if kind == _DEFLATED else -length % 8)
        if start + length > len(data):
            raise ValueError(f"an element of {length:,} bytes at {place:,} of {len(data):,}: cut short or damaged")
        yield kind, data[start : start + length]
        place = stop


def _array(body: bytes, order: str, depth: int) -> tuple[str, Any]:
    """An array's name and what it holds."""
    if not body:
        return "", np.zeros((0, 0))
    if depth > _DEEPEST:
        raise ValueError("arrays within arrays without end")
    parts = _elements(body, order)
    kind = struct.unpack(f"{order}L", next(parts)[1][:4])[0] & 0xFF
    size = tuple(np.frombuffer(next(parts)[1], f"{order}i4").tolist())
    name = next(parts)[1].decode("latin-1")
    count = 1
    for side in size:
        count *= max(side, 0)
    if kind in _CLASSES:
        stored, numbers = next(parts)
        values = np.frombuffer(numbers, order + _NUMBERS.get(stored, "V1")).astype(_CLASSES[kind])
        return name, values.reshape(size, order="F")
    if kind == _CHAR:
        stored, text = next(parts)
        codec = _TEXTS.get(stored, "latin-1")
        return name, text.decode(codec + ("" if codec != "utf-16" else "-le" if order == "<" else "-be"))
    if kind not in (_CELL, _STRUCT):
        return name, None
    fields = [""]
    if kind == _STRUCT:
        (width,) = struct.unpack(f"{order}l", next(parts)[1])
        names = next(parts)[1]
        fields = [names[at : at + width].partition(b"\0")[0].decode("latin-1") for at in range(0, len(names), width)]
    if count * len(fields) > _MOST_ENTRIES:
        raise ValueError(f"{count * len(fields):,} entries of an array, at most {_MOST_ENTRIES:,} are read")
    held = np.empty(count, object)
    for place in range(count):
        entries = [_array(next(parts)[1], order, depth + 1)[1] for _ in fields]
        held[place] = dict(zip(fields, entries, strict=True)) if kind == _STRUCT else entries[0]
    return name, held.reshape(size, order="F")


def hdf5(file: str | BinaryIO, where: object) -> Any:
    """An HDF5 file, open for reading. Raises DavidError without h5py, OSError where it is none."""
    try:
        import h5py
    except ImportError as error:
        raise DavidError(f"{where}: an HDF5 file; {ADVICE}") from error
    return h5py.File(file, "r")


def array(where: str, data: bytes, name: str, most: int) -> Any:
    """One array of an HDF5 file in memory, of `most` numbers at most. Raises BadSample where there is none, DavidError
    without h5py."""
    try:
        with hdf5(io.BytesIO(data), where) as file:
            stored = file[name]
            if stored.dtype.kind not in "fiu" or stored.size is None or stored.size > most:
                raise ValueError(f"{stored.dtype} of shape {stored.shape}, at most {most:,} numbers are read")
            return stored[()]
    except DavidError:
        raise
    except Exception as error:  # of a damaged file h5py says so in any type that there is
        raise BadSample(where, f"no HDF5 file with an array `{name}` ({error})") from error
