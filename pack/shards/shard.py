"""One sample to its members and back, and a run of samples to one USTAR archive with its index."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from david.pack import files
from david.pack.errors import DavidError
from david.pack.shards import codecs, codings, index
from david.pack.shards.manifest import Shard
from david.pack.shards.sample import Sample
from david.pack.shards.schema import CM, FIELDS_V1, VERSION, Compression, Field, Fields, ImageCodec, extensions

DIGEST = "xxh3"  # the owner that each member's header names; its group is the digest
_GNAME = slice(297, 297 + 16)  # where a USTAR header holds the group


def encode(
    sample: Sample,
    image: ImageCodec,
    compression: Compression,
    fields: Fields = FIELDS_V1,
    version: int = VERSION,
) -> list[bytes]:
    """A sample's members, in the order of `schema.extensions`. A field that it lacks, or that is valid nowhere, has a
    member of no bytes. Raises DavidError where a field does not fit its coding."""
    height, width, _ = sample.rgb.shape
    step = sample.step_m if version > 1 else sample.step_m / CM
    members, ranges = [codecs.encode_rgb(sample.rgb, image)], {}
    for field in fields[1:]:
        planes = None
        if field.name in sample.values:
            planes, ranges[field.name] = codings.split(
                field.coding, sample.values[field.name], mask(sample, field), step
            )
        members.append(b"" if planes is None else codecs.encode_planes(planes, compression, field.low))
    about = {
        "id": sample.key,
        "height": height,
        "width": width,
        **_told(ranges, version),
        "intrinsics": None if sample.intrinsics is None else sample.intrinsics.tolist(),
        **sample.meta,
    }
    return [*members, json.dumps(about).encode()]


def mask(sample: Sample, field: Field) -> np.ndarray:
    """(H, W) bool: where the field is valid, and the one that it lies within."""
    own = sample.masks[field.name]
    return own if field.within is None else own & sample.masks.get(field.within, np.False_)


def _told(ranges: dict[str, codings.Range], version: int) -> dict[str, Any]:
    """What the JSON member says of the fields. Raises KeyError where version 1 has no depth to tell of."""
    if version > 1:
        return {"fields": {name: one for name, one in ranges.items() if one}}
    depth = ranges["depth"]  # in centimetres, as it was asked for
    return {"depth_offset_cm": depth["offset_m"], "depth_scale_cm": depth["scale_m"]}


def decode_about(data: bytes | memoryview) -> dict[str, Any]:
    """The JSON member of a sample, of either version, with `intrinsics` as (3, 3) float64 or None, and `fields`:
    name -> offset_m, scale_m and step_m of each field that has them.

    Raises DavidError where a key is missing or of another type."""
    try:
        about = json.loads(str(data, "utf-8"))
        about["height"], about["width"] = int(about["height"]), int(about["width"])
        if about["intrinsics"] is not None:
            about["intrinsics"] = np.array(about["intrinsics"], np.float64).reshape(3, 3)
        if "fields" in about:
            told = {name: {key: float(one[key]) for key in one} for name, one in about["fields"].items()}
        else:
            offset, scale = float(about["depth_offset_cm"]), float(about["depth_scale_cm"])
            told = {"depth": {"offset_m": offset * CM, "scale_m": scale * CM}}
        return about | {"fields": told}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DavidError(f"no JSON member of a sample ({type(error).__name__}: {error})") from error


def decode(members: list[bytes] | list[memoryview], compression: Compression, fields: Fields = FIELDS_V1) -> Sample:
    """Members back to a sample in metres; the inverse of `encode` within the codecs' precision. A field that the sample
    lacks is valid nowhere. Raises DavidError where a member is damaged."""
    rgb, *stored, about = members
    meta = decode_about(about)
    height, width, ranges = (meta.pop(name) for name in ("height", "width", "fields"))
    for name in ("depth_offset_cm", "depth_scale_cm"):
        meta.pop(name, None)
    values, masks = decode_fields(stored, compression, fields[1:], (height, width), ranges)
    return Sample(meta.pop("id"), codecs.decode_rgb(rgb), values, masks, meta.pop("intrinsics"), meta)


def decode_fields(
    stored: Sequence[bytes | memoryview],
    compression: Compression,
    fields: Fields,
    size: tuple[int, int],
    ranges: dict[str, codings.Range],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The values and masks of fields that are planes, by name. size: (H, W); ranges: as `decode_about` tells them.

    Raises DavidError where a member is damaged."""
    values, masks = {}, {}
    for field, data in zip(fields, stored, strict=True):
        found = codings.nothing(field.coding, *size)
        if len(data):
            planes = codecs.decode_planes(data, field.planes, *size, compression)
            try:
                found = codings.join(field.coding, planes, ranges.get(field.name, {}))
            except KeyError as error:
                raise DavidError(f"its JSON member tells no {error.args[0]} of {field.name}") from error
        values[field.name], masks[field.name] = found
    for field in fields:
        if field.within is not None:
            masks[field.name] = masks[field.name] & masks[field.within]
    return values, masks


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


def write(
    path: Path,
    samples: Iterable[tuple[str, list[bytes]]],
    image: ImageCodec,
    compression: Compression,
    fields: Fields = FIELDS_V1,
    expected: Shard | None = None,
) -> Shard:
    """A shard and its index from (key, members) pairs, each file whole or absent. `path` ends in `.tar`.

    expected: what it has to be. Raises DavidError where it is not, and leaves what is there as it was."""
    names = extensions(image, compression, fields)
    with files.whole(path) as file:
        tar = _TarWriter(file)
        rows = [
            [tar.add(extension, f"{key}.{extension}", data) for extension, data in zip(names, members, strict=True)]
            for key, members in samples
        ]
        tar.close()
        listing = index.dump(rows)
        index_sha256 = hashlib.sha256(listing).hexdigest()
        written = Shard(path.stem, len(rows), tar.length, tar.digest.hexdigest(), index_sha256)
        if expected not in (None, written):
            raise DavidError(
                f"{path}: packed again it has other bytes than the manifest lists, and was left as it is: the raw data "
                "or what reads it has changed; start over with --restart"
            )
    files.write_whole(path.with_suffix(".idx"), listing)
    return written


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
