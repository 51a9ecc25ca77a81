"""The files of one shard set: on a local disk, or brought there from an address as they are needed."""

import os
import resource
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import xxhash

from david.pack.errors import DavidError
from david.pack.shards import index
from david.pack.shards.manifest import Manifest, Shard
from david.pipeline.reading.cache import ORIGIN, Cache
from david.pipeline.reading.opened import Opened

OPEN_SHARDS = 256  # at most, or a quarter of the files that the process may have open


class ShardFiles:
    """Safe to use from several threads; close it when done.

    Of a set on a local disk a bounded number of tars stays open. One that comes from an address is opened for each
    sample, so that a shard which nobody reads may give way to another. Indexes are kept (48 bytes a sample).

    cache: where shards come from an address, else None; extensions: of a sample's members; fields: rgb apart"""

    def __init__(self, dataset: Manifest):
        self.dataset, self._folder = dataset, str(dataset.folder)
        self.extensions, self.fields = dataset.extensions, dataset.labels
        self.cache = Cache(dataset.folder) if (dataset.folder / ORIGIN).is_file() else None
        most = min(OPEN_SHARDS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        self._kept = lru_cache(maxsize=most)(self._open)
        self._indexes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._indexing = threading.Lock()

    def path(self, shard: Shard) -> str:
        """Of a shard's tar."""
        return f"{self._folder}/{shard.name}.tar"

    def open(self, shard: Shard) -> Opened:
        """A shard's tar. Raises DavidError where it can't be had or is of another size than the manifest lists."""
        return self._kept(shard) if self.cache is None else self._open(shard)

    def _open(self, shard: Shard) -> Opened:
        path = self.path(shard)
        try:
            opened = self.cache.open(shard) if self.cache else Opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise DavidError(f"{path}: the shard can't be opened ({error.strerror}); the manifest lists it") from error
        found = os.fstat(opened.handle).st_size
        if found != shard.bytes:
            if self.mend(shard):
                return self._open(shard)
            raise DavidError(f"{path}: the shard has {found} bytes, the manifest lists {shard.bytes}; copy it again")
        return opened

    def index(self, shard: Shard) -> np.ndarray:
        """Where the members of an open shard lie, see `index.entries`: (n, members, 2), uint32 where that is enough."""
        return self._index(shard)[0]

    def is_key(self, shard: Shard, row: int, key: str) -> bool:
        """Whether the sample in this row of an open shard has this key, by the shard's index."""
        return int(self._index(shard)[1][row]) == xxhash.xxh3_64_intdigest(key.encode())

    def _index(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        """Of a shard: where its members lie, and a hash of each sample's key, (n,) uint64."""
        if (known := self._indexes.get(shard.name)) is None:
            with self._indexing:
                if (known := self._indexes.get(shard.name)) is None:
                    known = self._indexes[shard.name] = self._load(shard)
        return known

    def _load(self, shard: Shard) -> tuple[np.ndarray, np.ndarray]:
        path = Path(self.path(shard)).with_suffix(".idx")
        try:
            spans, keys = index.entries(path, self.extensions, shard.index_sha256)
            if len(spans) != shard.samples:
                raise DavidError(f"{path}: lists {len(spans)} samples, the manifest {shard.samples}")
        except (DavidError, OSError):
            if not self.mend(shard):
                raise
            held = self._open(shard)  # both are here again, and stay
            known = self._load(shard)
            del held
            return known
        hashes = np.array([xxhash.xxh3_64_intdigest(key.encode()) for key in keys], np.uint64)
        return spans.astype(np.uint32) if shard.bytes < 2**32 else spans, hashes

    def mend(self, shard: Shard) -> bool:
        """Whether a shard was only damaged on its way through a cache, and can be had again."""
        return self.cache is not None and self.cache.mend(shard)

    def stop(self) -> None:
        """End what is being brought: whoever waits for it gets a DavidError."""
        if self.cache:
            self.cache.close()

    def close(self) -> None:
        """Close the files, each as soon as nobody reads from it."""
        self.stop()
        self._kept.cache_clear()
