"""Which sample stands where: made from archive listings alone, before any member is read.

Shard k of a split is a pure function of the raw data, the options and k.
"""

import hashlib
import re
import shlex
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from david.pack.errors import BadSample, DavidError
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards import codecs
from david.pack.shards.manifest import Shard
from david.pack.shards.schema import SPLIT_NAME, VERSION, Compression, Fields, ImageCodec
from david.pack.sources.source import Source
from david.pack.sources.synthhuman import SynthHuman

SPLITS = ("train", "val")  # of a source that tells none
ENCODERS = ("opencv-python-headless", "lz4", "zstandard", "openexr", "numpy")  # that shards' bytes depend on
CODECS = "david's codecs"
_SHARD_NAME = re.compile(rf"({SPLIT_NAME.pattern})(?:-[0-9]{{2,9}})?-[0-9]{{6,9}}")


def encoders() -> dict[str, str]:
    """What encodes, with its versions: the libraries, and david's own codecs (`codecs.REVISION`)."""
    return {name: version(name) for name in ENCODERS} | {CODECS: f"revision {codecs.REVISION}"}


@dataclass(frozen=True)
class PackOptions:
    """What decides the bytes of a shard set, beside the raw data.

    image: "jpeg" (4:4:4, quality 95) or "webp" (lossless)
    compression: of the planes, "lz4" or "zstd"
    order: "permuted" over the whole set, or "stored"
    seed: of the permutation
    val_fraction: share of samples in the val split, chosen by a hash of their id that no seed changes; a source that
        tells splits of its own has those
    shard_samples: samples a shard
    max_pixels: rows x columns above which a sample is refused before anything is decoded
    """

    image: ImageCodec = "jpeg"
    compression: Compression = "lz4"
    order: Literal["permuted", "stored"] = "permuted"
    seed: int = 0
    val_fraction: float = 0.02
    shard_samples: int = 1000
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        for name, choices in (
            ("image", get_args(ImageCodec)),
            ("compression", get_args(Compression)),
            ("order", ("permuted", "stored")),
        ):
            if getattr(self, name) not in choices:
                raise DavidError(f"{name} is `{getattr(self, name)}`, but can only be {' or '.join(choices)}")
        if not 0 <= self.val_fraction < 1:
            raise DavidError(f"the val fraction is {self.val_fraction}, but must lie in 0 .. 1 (1 left out)")
        if self.shard_samples < 1:
            raise DavidError(f"a shard would hold {self.shard_samples} samples, but must hold at least 1")
        if self.max_pixels < 1:
            raise DavidError(f"--max-pixels is {self.max_pixels}, but a sample has at least 1")

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def words(options: dict[str, Any]) -> str:
        """How `david pack` is told these options, its own and its source's: those that are not its defaults, from
        `Plan.as_json`."""
        words = [] if options.get("source", SynthHuman.name) == SynthHuman.name else ["--source", options["source"]]
        for name, value in asdict(PackOptions()).items():
            asked = options.get(name, value)
            if name == "image":
                words += ["--lossless"] * (asked == "webp")
            elif asked != value:
                words.append(f"--{name.replace('_', '-')} {shlex.quote(str(asked))}")
        own = {"source", *asdict(PackOptions())}
        words += [
            f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
            for name, value in options.items()
            if name not in own
        ]
        return " ".join(words)


@dataclass(frozen=True)
class Packing:
    """How raw samples become members: what reads them, the table of their fields, options, the format's version."""

    source: Source
    fields: Fields
    options: PackOptions
    version: int = VERSION


@dataclass(frozen=True)
class ShardPlan:
    """One shard to write. name: without `.tar`; samples: (key, entry), in order; expected: of a set that is finished,
    what its manifest lists; other bytes than those never take its place."""

    name: str
    split: str
    samples: tuple[tuple[str, Entry], ...]
    expected: Shard | None = None


def is_name(name: str, splits: Iterable[str] = SPLITS) -> bool:
    """Whether a shard may have been planned under this name: `SPLIT-NUMBER` or `SPLIT-GROUP-NUMBER`."""
    match = _SHARD_NAME.fullmatch(name)
    return match is not None and match[1] in set(splits)


def splits_of(there: Iterable[str]) -> tuple[str, ...]:
    """The splits of a set whose shards are of these: `train` and `val`, even where they are empty, or a source's own,
    in order."""
    names = dict.fromkeys(there)
    return tuple(names) if names.keys() - set(SPLITS) else SPLITS


def _hash(*words: object) -> int:
    """64 bits that depend on the words alone."""
    return int.from_bytes(hashlib.blake2b(":".join(map(str, words)).encode(), digest_size=8).digest())


def split_of(key: str, val_fraction: float) -> str:
    """`val` for a share `val_fraction` of all ids, `train` for the others."""
    return "val" if _hash("val", key) < val_fraction * 2**64 else "train"


def one_in(many: int, key: str) -> bool:
    """True for one id in `many`, chosen by a hash."""
    return _hash("one in", many, key) % many == 0


@dataclass(frozen=True)
class Plan:
    """All that the shards depend on.

    contents: for each sample a CRC-32 of what is listed of it (names, sizes and CRC-32s of its members), in hex;
    quarantined: samples that the listings alone show to be bad, with reasons; group: names the zips that this plan
    covers where a set is packed as it is downloaded (its shards are `SPLIT-GROUP-NUMBER`), None: the whole set."""

    packing: Packing
    raw: dict[str, Any]
    contents: dict[str, str]
    shards: tuple[ShardPlan, ...]
    quarantined: tuple[dict[str, str], ...] = ()
    group: str | None = None

    @property
    def options(self) -> PackOptions:
        return self.packing.options

    @property
    def splits(self) -> tuple[str, ...]:
        """See `splits_of`."""
        return splits_of(shard.split for shard in self.shards)

    @property
    def samples(self) -> int:
        """How many there are, those set aside too."""
        return sum(len(shard.samples) for shard in self.shards) + len(self.quarantined)

    def as_json(self) -> dict[str, Any]:
        """What a later run must agree with: options, the libraries that encode, raw data; and the shards' names."""
        packing = self.packing
        return {
            "version": packing.version,
            "fields": [asdict(one) for one in packing.fields],
            "options": packing.options.as_json() | {"source": packing.source.name} | packing.source.options(),
            "libraries": encoders(),
            "raw": self.raw,
            "contents": self.contents,
            "quarantined": list(self.quarantined),
            "shards": [[shard.split, shard.name, len(shard.samples)] for shard in self.shards],
        }


def plan(
    found: Found,
    options: PackOptions,
    group: str | None = None,
    bad: dict[str, BadSample] | None = None,
    *,
    source: Source | None = None,
    version: int = VERSION,
) -> Plan:
    """The shards of a set, train first and val next, from what a source's scan found good and bad.

    Raises DavidError where a split's name is none."""
    source = source or SynthHuman()
    splits = {key: entry.split or split_of(key, options.val_fraction) for key, entry in found.items()}
    shards = []
    for split in sorted(set(splits.values()), key=lambda name: (name not in SPLITS, name)):
        if not SPLIT_NAME.fullmatch(split):
            raise DavidError(f"a split is called `{split[:80]}`, expected a-z, 0-9 and _")
        keys = [key for key in found if splits[key] == split]
        if options.order == "permuted":
            keys.sort(key=lambda key: (_hash("order", options.seed, key), key))
        prefix = split if group is None else f"{split}-{group}"
        for number, start in enumerate(range(0, len(keys), options.shard_samples)):
            part = keys[start : start + options.shard_samples]
            shards.append(ShardPlan(f"{prefix}-{number:06d}", split, tuple((key, found[key]) for key in part)))
    set_aside = tuple({"id": key, "where": one.where, "reason": one.reason} for key, one in (bad or {}).items())
    raw = describe_raw(found)
    raw["samples"] += len(set_aside)
    contents = {key: f"{zlib.crc32(_listed(key, entry)):08x}" for key, entry in found.items()}
    packing = Packing(source, source.fields(found), options, version)
    return Plan(packing, raw, contents, tuple(shards), set_aside, group)


def describe_raw(found: Found) -> dict[str, Any]:
    """What the set was made from: each archive's name, samples and bytes, and a digest of all members."""
    archives: dict[Path, dict[str, Any]] = {}
    digest = hashlib.sha256()
    for key, entry in found.items():
        for member in entry.members.values():
            about = archives.setdefault(member.archive, {"name": member.archive.name, "members": 0, "bytes": 0})
            about["members"] += 1
            about["bytes"] += member.size
        digest.update(_listed(key, entry))
    return {"archives": list(archives.values()), "samples": len(found), "digest": digest.hexdigest()}


def _listed(key: str, entry: Entry) -> bytes:
    """What is listed of a sample, in words."""
    members = [(kind, m.name, m.size, m.crc) for kind, m in sorted(entry.members.items())]
    if entry.told:
        return repr((key, members, entry.split, entry.told)).encode()
    return repr((key, members, entry.split) if entry.split else (key, members)).encode()
