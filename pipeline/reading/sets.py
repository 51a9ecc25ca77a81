"""Several shard sets read as one: the samples of each stand behind those of the one before it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.pack.shards import manifest
from david.pack.shards.manifest import Manifest
from david.pipeline.reading.cache import GB, mount, mounted

Shards = str | Path | Sequence[str | Path]  # the folder of a shard set, or those of several


def folders(shards: Shards) -> list[Path]:
    return [Path(shards)] if isinstance(shards, str | Path) else [Path(one) for one in shards]


@dataclass(frozen=True)
class ShardSets:
    """One set or several, in the order in which they were named."""

    manifests: tuple[Manifest, ...]

    @property
    def fingerprint(self) -> str:
        """Names the content of all sets and their order; that of a set alone is its own."""
        prints = [one.fingerprint for one in self.manifests]
        return prints[0] if len(prints) == 1 else hashlib.sha256(json.dumps(prints).encode()).hexdigest()

    def counts(self, split: str) -> list[list[int]]:
        """For each set the samples of each of its shards in a split. Raises DavidError where no set has any."""
        counts = [[shard.samples for shard in one.splits.get(split, ())] for one in self.manifests]
        if not any(map(sum, counts)):
            self.manifests[0].split(split)  # raises
        return counts

    def samples(self, split: str) -> int:
        return sum(one.samples(split) for one in self.manifests)


def located(names: Sequence[str], cache: Path | None, cache_gb: float) -> tuple[Path, ...]:
    """The folders of shard sets that are named by folders, or by addresses whose shards come as they are needed.

    cache, cache_gb: see `cache.mount`. Raises DavidError where an address is given and no cache."""
    addresses = [name for name in names if "://" in name]
    if addresses and cache is None:
        raise DavidError(f"{addresses[0]}: its shards are kept on a local disk while they are used; add --cache FOLDER")
    return tuple(
        mount(name, cache, int(cache_gb * GB)) if cache is not None and name in addresses else Path(name)
        for name in names
    )


def places(shards: Shards) -> list[dict[str, Any]]:
    """Where shard sets are, as `at` finds them again from any folder: `folder`, or what `cache.mount` was given."""
    return [mounted(folder) or {"folder": str(folder.absolute())} for folder in folders(shards)]


def at(places: Sequence[dict[str, Any]], cache: Path | None = None) -> tuple[Path, ...]:
    """The folders of shard sets whose places were noted. cache: in place of the one that was used then.

    Raises DavidError for a folder that holds no shards any more."""
    found = []
    for place in places:
        if "folder" in place:
            found.append(Path(place["folder"]))
            manifest.load(found[-1])
        else:
            found.append(mount(place["url"], cache or Path(place["cache"]), place["limit_bytes"]))
    return tuple(found)


def load(shards: Shards) -> ShardSets:
    """The shard sets in these folders. Raises DavidError where one holds none."""
    return ShardSets(tuple(manifest.load(folder) for folder in folders(shards)))
