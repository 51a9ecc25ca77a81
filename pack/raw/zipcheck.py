"""Is this zip whole? Every member is read against its own CRC-32, and the bytes around a damaged one are named."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

BLOCK_BYTES = 1 << 20
# what zipfile and zlib raise on damaged bytes
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)

Watch = Callable[[int], None]


def damage(path: Path, watch: Watch) -> list[tuple[int, int]]:
    """Byte ranges (start, stop) that hold what is damaged, none where the zip is whole; all of it where it's no zip.

    watch: called with the bytes looked at so far; what it raises ends the check."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as file:
            infos = sorted(file.infolist(), key=lambda info: info.header_offset)
            ends = [*(info.header_offset for info in infos[1:]), size]
            if not all(0 <= info.header_offset < size for info in infos):
                return [(0, size)]
            damaged = []
            for info, end in zip(infos, ends, strict=True):
                watch(info.header_offset)
                if not _reads_back(file, info):
                    damaged.append((info.header_offset, end))
            return [*damaged, (infos[-1].header_offset, size)] if damaged else []  # the fault may lie in the directory
    except DAMAGE:
        return [(0, size)]


def _reads_back(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    try:
        with file.open(info) as member:
            while member.read(BLOCK_BYTES):
                pass
    except DAMAGE:
        return False
    return True


def sha256(path: Path, watch: Watch) -> str:
    """The file's SHA-256 in hex; `watch` as in `damage`."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            watch(done)
    return digest.hexdigest()
