"""A sample's members: read, held against the hashes in their headers, and inflated to planes (`pack/shards/schema.py`).

xxHash and LZ4 do the work, in the libraries that the packages xxhash and lz4 are built with: called by address and
without those packages' wrappers they read and write in place, and a sample leaves Python's lock once to be read and
checked, and once to be inflated. Where a library hides its functions, and to tell what is damaged, the same is done by
way of the packages.

Legend: h rows, w columns of a sample.
"""

import ctypes
import tarfile
from importlib import import_module

import numpy as np

from david.pack.errors import BadSample, DavidError
from david.pack.shards import codecs, shard
from david.pack.shards.schema import Compression
from david.pipeline.reading import _members


def _address(extension: str, function: str) -> int:
    """Of a C function in an extension module; 0 where it has none of that name."""
    try:
        library = ctypes.CDLL(str(import_module(extension).__file__))
        return ctypes.cast(getattr(library, function), ctypes.c_void_p).value or 0
    except (ImportError, OSError, AttributeError):
        return 0


XXH3 = _address("xxhash._xxhash", "XXH3_64bits")
LZ4 = _address("lz4.block._block", "LZ4_decompress_safe")


AT_ONCE = 1 << 30  # bytes that one read asks for; Linux never gives more than 2 GB


def load(handle: int, data: memoryview, begin: int, spans: np.ndarray, extensions: tuple[str, ...], where: str) -> None:
    """Fill `data` with a shard's bytes from `begin` on. Raises BadSample where they can't be had, or where a member's
    are not those that its header was written for.

    handle: of the open shard; spans: (members, 2) int64, where its members lie"""
    try:
        got, as_written = _members.load(XXH3, handle, AT_ONCE, data, spans, begin)
    except OSError as error:
        raise unreadable(where, error) from error
    if got != len(data):
        raise cut_short(where, len(data) - got)
    if not as_written:
        _name_changed(data, begin, spans, extensions, where)


def unreadable(where: str, error: OSError) -> BadSample:
    return BadSample(where, f"can't be read ({error.strerror}); is the disk whole?")


def cut_short(where: str, missing: int) -> BadSample:
    return BadSample(where, f"the shard ends {missing} bytes before the sample does; copy it again")


def check(data: memoryview, begin: int, spans: np.ndarray, extensions: tuple[str, ...], where: str) -> None:
    """As `load`, of bytes that are there."""
    if not _members.load(XXH3, NO_FILE, AT_ONCE, data, spans, begin)[1]:
        _name_changed(data, begin, spans, extensions, where)


NO_FILE = -1


def _name_changed(data: memoryview, begin: int, spans: np.ndarray, extensions: tuple[str, ...], where: str) -> None:
    for extension, (start, size) in zip(extensions, (spans - [begin, 0]).tolist(), strict=True):
        try:
            shard.check(data[start - tarfile.BLOCKSIZE : start], data[start : start + size])
        except DavidError as error:
            raise BadSample(where, f"{extension}: {error}; copy the shard again") from error


def inflate(members: dict[str, memoryview], compression: Compression, outs: dict[str, np.ndarray], where: str) -> None:
    """Fill each of `outs`, (planes, h, w) uint8 by field, from the member of that field.

    Raises BadSample where their bytes are damaged."""
    packed = tuple(members[name] for name in outs)
    if LZ4 and compression == "lz4" and _members.inflate(LZ4, packed, tuple(outs.values())):
        return
    for (name, out), member in zip(outs.items(), packed, strict=True):
        try:
            count, height, width = out.shape
            codecs.decode_planes(member, count, height, width, compression, out)
        except DavidError as error:
            raise BadSample(where, f"{name}: {error}") from error
