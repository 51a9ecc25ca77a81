"""david's parsers of foreign bytes, each as a function that takes any bytes and returns, or raises DavidError.

Anything else that comes of it is a finding. `fuzz.py` drives them with atheris; the test suite replays what was found
(`cases/`) and feeds them mutated seeds.
"""

import hashlib
import io
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from david.pack import BadSample
from david.pack.raw import archive, exr, png
from david.pack.shards import index, manifest
from david.pack.sources import camera

MAX_PIXELS = 1 << 16
MAX_BYTES = 1 << 20
MEMORY = Path("/dev/shm")  # where a file costs no disk
_folder = tempfile.TemporaryDirectory(prefix="david-fuzz-", dir=MEMORY if MEMORY.is_dir() else None)
SCRATCH = Path(_folder.name)
MEMBER = archive.Member(SCRATCH, "member", 0, None, None, 0, 0)


def _file(name: str, data: bytes) -> Path:
    path = SCRATCH / name
    path.write_bytes(data)
    return path


def read_zip(data: bytes) -> None:
    path = _file("x.zip", data)
    for member in archive.members(path):
        assert len(archive.read(member, MAX_BYTES)) == member.size
    archive.comment(path)


def decode_png(data: bytes) -> None:
    """With the chunks' checksums put right, so that what is behind them is reached."""
    sound = _with_checksums(data)
    with suppress(BadSample):
        png.decode(MEMBER, sound, "RGB", MAX_PIXELS)
        return
    png.decode(MEMBER, sound, "grey", MAX_PIXELS)


def decode_exr(data: bytes) -> None:
    with suppress(BadSample):
        exr.decode(MEMBER, data, ("Y",), MAX_PIXELS)
        return
    exr.decode(MEMBER, data, ("B", "G", "R"), MAX_PIXELS)


def read_intrinsics(data: bytes) -> None:
    assert camera.intrinsics("a camera", data, 512, 384).shape == (3, 3)


def load_index(data: bytes) -> None:
    found = index.entries(_file("x.idx", data), ("rgb.jpg", "json"))[0]
    assert found.shape[1:] == (2, 2)
    assert (found >= 0).all()


def load_manifest(data: bytes) -> None:
    """Signed anew, so that what is behind the signature is reached."""
    _file(manifest.NAME, _signed(data))
    found = manifest.load(SCRATCH)
    assert len(found.fingerprint) == 64
    for split, shards in found.splits.items():
        assert found.samples(split) >= 0
        assert all((SCRATCH / f"{shard.name}.tar").parent == SCRATCH for shard in shards)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "zip": read_zip,
    "png": decode_png,
    "exr": decode_exr,
    "cam": read_intrinsics,
    "index": load_index,
    "manifest": load_manifest,
}


def _with_checksums(data: bytes) -> bytes:
    out = bytearray(data)
    position = len(png.SIGNATURE)
    while position + 12 <= len(out):
        (length,) = struct.unpack_from(">L", out, position)
        stop = position + 8 + length
        if stop + 4 > len(out):
            break
        struct.pack_into(">L", out, stop, zlib.crc32(out[position + 4 : stop]))
        position = stop + 4
    return bytes(out)


def _signed(text: bytes) -> bytes:
    found = re.search(rb'"sha256": "([0-9a-f]{64})"', text)
    if found is None:
        return text
    unsigned = text.replace(found[1], b"0" * 64, 1)
    return unsigned.replace(b"0" * 64, hashlib.sha256(unsigned).hexdigest().encode(), 1)


def _zip(method: int, **how: bool) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as writer:
        writer.comment = b"a comment"
        writer.mkdir("folder")
        for name in ("folder/a.txt", "b.txt"):
            with writer.open(name, "w", **how) as member:
                member.write(name.encode() * 20)
    return file.getvalue()


def _exr(compression: int, channels: str) -> bytes:
    file = io.BytesIO()
    planes = {name: np.arange(40 * 3, dtype=np.float32).reshape(40, 3) for name in channels}
    OpenEXR.File({"compression": compression, "type": OpenEXR.scanlineimage}, planes, num_threads=0).write(file)
    return file.getvalue()


def _png(shape: tuple[int, ...]) -> bytes:
    return cv2.imencode(".png", np.arange(np.prod(shape), dtype=np.uint8).reshape(shape))[1].tobytes()


def _index() -> bytes:
    return index.dump([[index.Member(ext, 512 * i, 9, f"{i}.{ext}") for ext in ("rgb.jpg", "json")] for i in range(3)])


def _manifest() -> bytes:
    shard = manifest.Shard("train-000000", 3, 10240, "0" * 64, "1" * 64)
    manifest.Manifest(SCRATCH, {"image": "jpeg", "compression": "lz4"}, {"train": (shard,), "val": ()}).write()
    return (SCRATCH / manifest.NAME).read_bytes()


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "zip": lambda: [_zip(0), _zip(8), _zip(0, force_zip64=True), _zip(8, force_zip64=True)],
    "png": lambda: [_png((5, 4)), _png((5, 4, 3)), _png((5, 4, 4))],
    "exr": lambda: [
        _exr(getattr(OpenEXR, f"{name}_COMPRESSION"), channels)
        for name in ("NO", "RLE", "ZIPS", "ZIP", "PIZ", "B44")
        for channels in ("Y", "BGR")
    ],
    "cam": lambda: [b"500 0 192\n0 500 256\n0 0 1\n", b"5.0e+02 0.0e+00 1.9e+02 " * 3],
    "index": lambda: [_index(), b"v1.2 0\n"],
    "manifest": lambda: [_manifest()],
}
