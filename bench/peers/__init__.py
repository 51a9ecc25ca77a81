"""Other loaders on the same samples: each in a file of its own, each at its best settings, none needed to use david.

A peer is a module of two functions:

    prepare(raw: Path, samples: int, folder: Path) -> int
        writes the first samples of a raw folder in the peer's own format; returns the bytes that they take
    batches(folder: Path, batch_size: int, workers: int) -> ContextManager[Iterator[Any]]
        endless batches in shuffled order, fields as `fields.py` has them, each sample mirrored with probability 1/2

`david` and `floor` have them too: david itself, and its decoders alone on bytes that are in memory already.
"""

from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

PEERS = {  # the peer, whose module is `{name}_loader` -> the package that it needs
    "raw": "OpenEXR",
    "webdataset": "webdataset",
    "mosaic": "streaming",
    "litdata": "litdata",
    "spdl": "spdl.pipeline",
    "dali": "nvidia.dali",
}


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """One pass after another."""
    while True:
        yield from loader


def loader(name: str) -> ModuleType:
    """The module of a peer, of `david` or of `floor`."""
    return import_module(f"david.bench.peers.{name}_loader")
