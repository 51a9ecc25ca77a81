"""A sample's members: held against the hashes in their headers, and inflated to planes (see `pack/shards/schema.py`).

xxHash and LZ4 do the work, in the libraries that the packages xxhash and lz4 are built with: called by address and
without those packages' wrappers they read and write in place, and a sample leaves Python's lock once for each. Where
a library hides its functions, and to tell what is damaged, the same is done by way of the packages.

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


def check(data: memoryview, begin: int, spans: np.ndarray, extensions: tuple[str, ...], where: str) -> None:
    """Raises BadSample where a member's bytes are not those that its header was written for.

    data: of a shard, from its byte `begin` on; spans: (members, 2) int64, where the shard's members lie"""
    if XXH3 and _members.check(XXH3, data, spans, begin):
        return
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
