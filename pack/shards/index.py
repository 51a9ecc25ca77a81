"""The index beside each shard, in the format that DALI's `fn.readers.webdataset` reads (`v1.2`).

The first line is `v1.2 SAMPLES`; each further line is one sample, and for each of its members in order
`EXTENSION OFFSET SIZE NAME`, where OFFSET is the first byte of the member's data in the tar.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from david.pack.errors import DavidError


class Member(NamedTuple):
    """One member of a shard. offset: of its data in the tar, in bytes; size: in bytes."""

    extension: str
    offset: int
    size: int
    name: str


def dump(samples: list[list[Member]]) -> bytes:
    """The text of an index."""
    lines = [f"v1.2 {len(samples)}"]
    lines += [" ".join(f"{m.extension} {m.offset} {m.size} {m.name}" for m in members) for members in samples]
    return ("\n".join(lines) + "\n").encode()


def entries(path: Path, extensions: tuple[str, ...], sha256: str | None = None) -> tuple[np.ndarray, list[str]]:
    """Offset and size of each sample's members in the order of `extensions`, (n, len(extensions), 2) int64, and the
    samples' keys.

    sha256: that the manifest lists for it. Raises DavidError where the file is missing or is no such index."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DavidError(
            f"{path}: no index there ({error.strerror}); `david verify {path.parent}` says how to mend the set"
        ) from error
    try:
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("its SHA-256 is not the one that the manifest lists")
        head, *lines = data.decode("ascii").splitlines()
        version, count = head.split()
        rows = [line.split() for line in lines]
        expected = list(extensions), 4 * len(extensions)
        if version != "v1.2" or int(count) != len(rows) or any((row[::4], len(row)) != expected for row in rows):
            raise ValueError(f"`{head[:40]}` and {len(rows)} lines of {', '.join(extensions)} do not agree")
        numbers = [[int(word) for word in row[1::4] + row[2::4]] for row in rows]
        spans = np.array(numbers, np.int64).reshape(len(rows), 2, len(extensions))
        if (spans < 0).any():
            raise ValueError("a negative offset or size")
        keys = [row[3].removesuffix(f".{extensions[0]}") for row in rows]
        return np.ascontiguousarray(spans.swapaxes(1, 2)), keys
    except (ValueError, OverflowError) as error:
        raise DavidError(
            f"{path}: no index of this shard ({error}); `david verify {path.parent}` says how to mend the set"
        ) from error
