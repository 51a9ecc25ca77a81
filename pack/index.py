"""The index beside each shard, in the format that DALI's `fn.readers.webdataset` reads (`v1.2`).

The first line is `v1.2 SAMPLES`; each further line is one sample, and for each of its members in order
`EXTENSION OFFSET SIZE NAME`, where OFFSET is the first byte of the member's data in the tar.
"""

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


def load(path: Path, extensions: tuple[str, ...]) -> np.ndarray:
    """Offset and size of each sample's members in the order of `extensions`: (n, len(extensions), 2) int64.

    Raises DavidError where the file is missing or is no such index."""
    try:
        head, *lines = path.read_text("ascii").splitlines()
        version, count = head.split()
        words = np.array([line.split() for line in lines]).reshape(len(lines), len(extensions), 4)
        if version != "v1.2" or int(count) != len(lines) or (words[:, :, 0] != np.array(extensions)).any():
            raise ValueError(f"`{head}` and {len(lines)} lines of {', '.join(extensions)} do not agree")
        return words[:, :, 1:3].astype(np.int64)
    except OSError as error:
        raise DavidError(f"{path}: no index there ({error.strerror}); pack the set again") from error
    except ValueError as error:
        raise DavidError(f"{path}: no index of this shard ({error}); pack the set again") from error
