"""Several shard sets read as one: the samples of each stand behind those of the one before it. A set may have sidecars
(`pack/shards/sidecar.py`), whose fields its samples get besides: `SHARDS+SIDECAR`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.pack.shards import manifest, sidecar
from david.pack.shards.manifest import Manifest
from david.pack.shards.sidecar import JOIN
from david.pipeline.reading.cache import GB, mount, mounted

Shards = str | Path | Sequence[str | Path]  # the folder of a shard set, `SHARDS+SIDECAR`, or several of them


def folders(shards: Shards) -> list[Path]:
    """Of each set its folder, with those of its sidecars behind it, see `parts`."""
    return [Path(shards)] if isinstance(shards, str | Path) else [Path(one) for one in shards]


def parts(name: str | Path) -> list[str]:
    """The folders or addresses of a shard set and of its sidecars, from `SHARDS+SIDECAR`; a name with a + in it that is
    there stays whole. Raises DavidError where one of them has no name."""
    if Path(name).exists():
        return [str(name)]
    found: list[str] = []
    for word in str(name).split(JOIN):
        if found and not _ends(found[-1], word):
            found[-1] += JOIN + word
        else:
            found.append(word)
    if len(found) > 1 and "" in found:
        raise DavidError(f"{name}: nothing stands on one side of a {JOIN}; write SHARDS{JOIN}SIDECAR")
    return found


def _ends(before: str, word: str) -> bool:
    """Whether the name before a + ends there, and another begins with the word behind it."""
    if "://" in before:
        return "://" in word or Path(word).exists()
    return Path(before).exists()


@dataclass(frozen=True)
class ShardSets:
    """One set or several, in the order in which they were named. sidecars: of each set, none by default"""

    manifests: tuple[Manifest, ...]
    sidecars: tuple[tuple[Manifest, ...], ...]

    def _each(self) -> list[list[Manifest]]:
        """Each set with its sidecars."""
        return [[one, *some] for one, some in zip(self.manifests, self.sidecars, strict=True)]

    @property
    def tables(self) -> list[Manifest]:
        """All that have fields: each set, and its sidecars behind it."""
        return list(chain.from_iterable(self._each()))

    @property
    def fingerprint(self) -> str:
        """Names the content of all sets and their order, sidecars with it; that of a set alone is its own."""
        prints = [_joined([one.fingerprint for one in some]) for some in self._each()]
        return _joined(prints)

    def counts(self, split: str) -> list[list[int]]:
        """For each set the samples of each of its shards in a split. Raises DavidError where no set has any."""
        counts = [[shard.samples for shard in one.splits.get(split, ())] for one in self.manifests]
        if not any(map(sum, counts)):
            self.manifests[0].split(split)  # raises
        return counts

    def samples(self, split: str) -> int:
        return sum(one.samples(split) for one in self.manifests)


def _joined(prints: list[str]) -> str:
    """A fingerprint of several; of one its own."""
    return prints[0] if len(prints) == 1 else hashlib.sha256(json.dumps(prints).encode()).hexdigest()


def located(names: Sequence[str], cache: Path | None, cache_gb: float) -> tuple[Path, ...]:
    """The folders of shard sets and their sidecars that are named by folders, or by addresses whose shards come as they
    are needed.

    cache, cache_gb: see `cache.mount`. Raises DavidError where an address is given and no cache."""
    named = [parts(name) for name in names]
    addresses = [one for some in named for one in some if "://" in one]
    if addresses and cache is None:
        raise DavidError(f"{addresses[0]}: its shards are kept on a local disk while they are used; add --cache FOLDER")

    def here(name: str) -> str:
        return str(mount(name, cache, int(cache_gb * GB))) if cache is not None and name in addresses else name

    return tuple(Path(JOIN.join(map(here, some))) for some in named)


def places(shards: Shards) -> list[dict[str, Any]]:
    """Where shard sets are, as `at` finds them again from any folder: `folder`, or what `cache.mount` was given; and
    `sidecars`, where a set has any."""
    found = []
    for base, *others in (parts(folder) for folder in folders(shards)):
        found.append(_place(base) | ({"sidecars": [_place(one) for one in others]} if others else {}))
    return found


def _place(folder: str) -> dict[str, Any]:
    return mounted(Path(folder)) or {"folder": str(Path(folder).absolute())}


def at(places: Sequence[dict[str, Any]], cache: Path | None = None) -> tuple[Path, ...]:
    """The folders of shard sets whose places were noted. cache: in place of the one that was used then.

    Raises DavidError for a folder that holds no shards any more."""

    def here(place: dict[str, Any]) -> str:
        return place.get("folder") or str(mount(place["url"], cache or Path(place["cache"]), place["limit_bytes"]))

    found = [Path(JOIN.join(map(here, (place, *place.get("sidecars", ()))))) for place in places]
    load(found)
    return tuple(found)


def load(shards: Shards) -> ShardSets:
    """The shard sets in these folders. Raises DavidError where one holds none, or a sidecar is none of its set."""
    bases, sidecars = [], []
    for base, *others in (parts(folder) for folder in folders(shards)):
        bases.append(manifest.load(Path(base)))
        sidecars.append(tuple(sidecar.joined(bases[-1], Path(one)) for one in others))
        _require_apart([bases[-1], *sidecars[-1]])
    return ShardSets(tuple(bases), tuple(sidecars))


def _require_apart(joined: list[Manifest]) -> None:
    """Raises DavidError where a field would come from two of those that are joined."""
    first: dict[str, Manifest] = {}
    for one in joined:
        for field in one.labels:
            if field.name in first:
                raise DavidError(
                    f"{one.folder}: its `{field.name}` is in {first[field.name].folder} too; join one of them"
                )
            first[field.name] = one
