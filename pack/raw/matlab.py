"""Files of MATLAB and HDF5, read by SciPy and h5py where these are installed. Nothing in them is run.

A MATLAB file from before HDF5 is a header of 128 bytes and then elements, each a type, a length and so many bytes;
those of type 15 are deflated (MAT-File Format, "Level 5 MAT-File Format").
"""

import io
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from david.pack.errors import BadSample, DavidError

ADVICE = "install what reads it: pip install -e '.[nyu]' in the folder of david"
MOST_BYTES = 1 << 28  # of one file, inflated
_HEADER, _TAG, _DEFLATED = 128, 8, 15
_AT_ONCE = 1 << 20


def load(path: Path, data: bytes | None = None, most: int = MOST_BYTES) -> dict[str, Any]:
    """What a MATLAB file from before HDF5 holds, by name. data: its bytes, where they are read already; most: bytes
    that it may inflate to. Raises DavidError where it is no such file, or without SciPy."""
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DavidError(f"{path}: a MATLAB file; {ADVICE}") from error
    try:
        data = path.read_bytes() if data is None else data
        if _inflated(data, most) > most:
            raise ValueError(f"it inflates to more than {most:,} bytes")
        return loadmat(io.BytesIO(data))
    except Exception as error:  # of a damaged file SciPy says so in any type that there is
        raise DavidError(f"{path}: can't be read as a MATLAB file ({type(error).__name__}: {error})") from error


def _inflated(data: bytes, most: int) -> int:
    """Bytes that its elements take, those beyond `most` not counted to their end."""
    order = "<" if data[126:128] == b"IM" else ">"
    place, total = _HEADER, 0
    while place + _TAG <= len(data) and total <= most:
        kind, length = struct.unpack_from(f"{order}2L", data, place)
        element = data[place + _TAG : place + _TAG + length]
        place += _TAG + length
        if kind != _DEFLATED:
            total += len(element)
            continue
        stream = zlib.decompressobj()
        while element and total <= most:
            total += len(stream.decompress(element, _AT_ONCE))
            element = stream.unconsumed_tail
    return total


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
            if stored.size is None or stored.size > most:
                raise ValueError(f"`{name}` is of shape {stored.shape}, at most {most:,} numbers are read")
            return stored[()]
    except (OSError, KeyError, ValueError, AttributeError, RuntimeError, TypeError) as error:
        raise BadSample(where, f"no HDF5 file with an array `{name}` ({error})") from error
