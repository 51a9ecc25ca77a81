"""One sample to its members and back, and a run of samples to one USTAR archive with its index."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from david.pack import files
from david.pack.errors import DavidError
from david.pack.shards import codecs, index
from david.pack.shards.manifest import Shard
from david.pack.shards.schema import LOW_PLANES, PLANES, Compression, ImageCodec, Sample, extensions

DIGEST = "xxh3"  # the owner that each member's header names; its group is the digest
CM = 0.01  # metres
_NUMBERS = (("height", int), ("width", int), ("depth_offset_cm", float), ("depth_scale_cm", float))
_GNAME = slice(297, 297 + 16)  # where a USTAR header holds the group


def encode(sample: Sample, image: ImageCodec, compression: Compression) -> list[bytes]:
    """A sample's five members, in the order of `schema.extensions`."""
    height, width = sample.valid.shape
    relative, offset_cm, scale_cm = codecs.normalise_depth(sample.depth_cm, sample.valid)
    planes = {
        "alpha": sample.alpha[None],
        "depth": codecs.split_depth(relative),
        "normals": codecs.split_normals(sample.normals, sample.normals_valid & sample.valid),
    }
    about = {
        "id": sample.key,
        "height": height,
        "width": width,
        "depth_offset_cm": offset_cm,
        "depth_scale_cm": scale_cm,
        "intrinsics": None if sample.intrinsics is None else sample.intrinsics.tolist(),
        **sample.meta,
    }
    return [
        codecs.encode_rgb(sample.rgb, image),
        *(codecs.encode_planes(planes[name], compression, low) for name, low in LOW_PLANES.items()),
        json.dumps(about).encode(),
    ]


def decode_about(data: bytes | memoryview) -> dict[str, Any]:
    """The JSON member of a sample, with `intrinsics` as (3, 3) float64 or None, and `affine`: for each field that is
    stored relative to its range (offset, scale) in metres.

    Raises DavidError where a key is missing or of another type."""
    try:
        about = json.loads(str(data, "utf-8"))
        for name, number in _NUMBERS:
            about[name] = number(about[name])
        if about["intrinsics"] is not None:
            about["intrinsics"] = np.array(about["intrinsics"], np.float64).reshape(3, 3)
        about["affine"] = {"depth": (about["depth_offset_cm"] * CM, about["depth_scale_cm"] * CM)}
        return about
    except (ValueError, KeyError, TypeError) as error:
        raise DavidError(f"no JSON member of a sample ({type(error).__name__}: {error})") from error


def decode(members: list[bytes] | list[memoryview], compression: Compression) -> Sample:
    """Five members back to a sample in centimetres; the inverse of `encode` within the codecs' precision."""
    rgb, *fields, about = members
    meta = decode_about(about)
    height, width = meta.pop("height"), meta.pop("width")
    del meta["affine"]
    alpha, depth, normals = (
        codecs.decode_planes(data, count, height, width, compression)
        for data, count in zip(fields, PLANES.values(), strict=True)
    )
    relative = codecs.join_depth(depth).astype(np.float64)
    valid = ~np.isnan(relative)
    depth_cm = relative * meta.pop("depth_scale_cm") + meta.pop("depth_offset_cm")
    return Sample(
        key=meta.pop("id"),
        rgb=codecs.decode_rgb(rgb),
        alpha=alpha[0],
        depth_cm=depth_cm.astype(np.float32),  # rounded once: within a 4,000th of the range, however small that is
        normals=codecs.join_normals(normals),
        valid=valid,
        normals_valid=valid & codecs.known_normals(normals),
        intrinsics=meta.pop("intrinsics"),
        meta=meta,
    )


def header(name: str, data: bytes | memoryview) -> bytes:
    """The USTAR header of a member, 512 bytes: it depends on name and data alone, and holds the data's XXH3."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    info.uname, info.gname = DIGEST, xxhash.xxh3_64_hexdigest(data)
    return info.tobuf(tarfile.USTAR_FORMAT)


def check(head: memoryview, data: memoryview) -> None:
    """Raises DavidError where a member's data are not those that its header was written for."""
    told, found = bytes(head[_GNAME]), xxhash.xxh3_64_hexdigest(data)
    if told != found.encode():
        raise DavidError(f"its bytes changed after packing (XXH3 {found}, written {told.decode('ascii', 'replace')})")


class _TarWriter:
    """Members one after the other into a USTAR archive, its SHA-256 and length kept along."""

    def __init__(self, file: BinaryIO):
        self.file, self.digest, self.length = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.length += len(data)

    def add(self, extension: str, name: str, data: bytes) -> index.Member:
        self.write(header(name, data))
        member = index.Member(extension, self.length, len(data), name)
        self.write(data)
        self.write(bytes(-len(data) % tarfile.BLOCKSIZE))
        return member

    def close(self) -> None:
        end = 2 * tarfile.BLOCKSIZE  # two zero blocks end a tar, and records are whole
        self.write(bytes(end + -(self.length + end) % tarfile.RECORDSIZE))


def write(path: Path, samples: Iterable[tuple[str, list[bytes]]], image: ImageCodec, compression: Compression) -> Shard:
    """A shard and its index from (key, members) pairs, each file whole or absent. `path` ends in `.tar`."""
    names = extensions(image, compression)
    with files.whole(path) as file:
        tar = _TarWriter(file)
        rows = [
            [tar.add(extension, f"{key}.{extension}", data) for extension, data in zip(names, members, strict=True)]
            for key, members in samples
        ]
        tar.close()
    listing = index.dump(rows)
    files.write_whole(path.with_suffix(".idx"), listing)
    return Shard(path.stem, len(rows), tar.length, tar.digest.hexdigest(), hashlib.sha256(listing).hexdigest())


def there(folder: Path, one: Shard) -> bool:
    """Whether a shard's tar is there with the size, and its index with the hash, that `one` tells."""
    path = folder / f"{one.name}.tar"
    try:
        return path.stat().st_size == one.bytes and files.sha256(path.with_suffix(".idx")) == one.index_sha256
    except FileNotFoundError:
        return False


def intact(folder: Path, one: Shard) -> bool:
    """Whether a shard's files are there with the sizes and hashes that `one` tells."""
    try:
        return there(folder, one) and files.sha256(folder / f"{one.name}.tar") == one.sha256
    except FileNotFoundError:
        return False


def changed(
    folder: Path, shards: Iterable[Shard], threads: int, watch: Callable[[int, int], None] = lambda done, total: None
) -> list[Shard]:
    """Those that are not intact, in order. Every byte is read, by so many threads.

    watch: called with the bytes read and those to read"""
    shards = list(shards)
    found, done, total = [], 0, sum(one.bytes for one in shards)
    with ThreadPoolExecutor(threads) as pool:
        for one, whole in zip(shards, pool.map(lambda one: intact(folder, one), shards), strict=True):
            done += one.bytes
            watch(done, total)
            if not whole:
                found.append(one)
    return found
