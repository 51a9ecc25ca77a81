"""`dataset.json`: what a shard set holds, written last, so that a folder with a manifest is a whole set.

Keys: `format`, `version`, `sha256` (of this file with 64 zeros in its place), `fields` (see `schema.py`; version 1 has
none), `options` (see `plan.PackOptions`, and what its source was told), `raw` (the archives read, with sizes and a
digest of their members' names, sizes and CRC-32s), `splits` (for each its shards with samples, bytes and SHA-256s),
`report` (what packing saw, and what was accepted of it, see `report.py`), `quarantined` (samples set aside, with
reasons) and `libraries` (the versions that encoded it). Of a sidecar `belongs` besides, see `sidecar.py`.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pack.shards.schema import (
    CODINGS,
    FIELDS_V1,
    RGB,
    VERSION,
    VERSIONS,
    Compression,
    Field,
    Fields,
    ImageCodec,
    extensions,
)

NAME = "dataset.json"
RECORD = ".pack"  # the folder beside it while packing is under way
FORMAT, LABELS = "david shards", "david labels"  # of a shard set, and of a sidecar
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")  # no path
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
TEACHER = ("name", "sha256", "kind", "says", "fit", "precision")  # what is told of it in words
_UNSIGNED = "0" * 64  # stands for the manifest's own SHA-256 where that is computed
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One tar of the set. name: without `.tar`; bytes: the tar's size; hashes: SHA-256 of the tar and of its index."""

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str

    @classmethod
    def parse(cls, row: dict[str, Any]) -> "Shard":
        """From JSON. Raises ValueError, KeyError or TypeError where a value is none of a shard's."""
        shard = cls(**row)
        cls.parse_name(shard.name)
        if any(type(text) is not str or not _SHA256.fullmatch(text) for text in (shard.sha256, shard.index_sha256)):
            raise ValueError(f"a shard's hash is not as expected in {str(row)[:200]}")
        if any(type(number) is not int or not 0 <= number < 2**63 for number in (shard.samples, shard.bytes)):
            raise ValueError(f"a shard's samples or bytes are no counts in {str(row)[:200]}")
        return shard

    @staticmethod
    def parse_name(name: Any) -> str:
        """A shard's name, which is no path. Raises ValueError."""
        if type(name) is not str or not _NAME.fullmatch(name):
            raise ValueError(f"a shard's name is not as expected: {str(name)[:200]!r}")
        return name


@dataclass(frozen=True)
class Manifest:
    """A shard set as its manifest tells it."""

    folder: Path
    options: dict[str, Any]
    splits: dict[str, tuple[Shard, ...]]
    raw: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    quarantined: list[dict[str, str]] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)
    fields: Fields = FIELDS_V1
    version: int = VERSION
    belongs: dict[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> str:
        return LABELS if self.belongs else FORMAT

    @property
    def labels(self) -> Fields:
        """The fields beside the image."""
        return tuple(one for one in self.fields if one.planes)

    @property
    def image(self) -> ImageCodec:
        return self.options["image"]

    @property
    def compression(self) -> Compression:
        return self.options["compression"]

    @property
    def extensions(self) -> tuple[str, ...]:
        return extensions(self.image, self.compression, self.fields)

    @property
    def fingerprint(self) -> str:
        """Names the set's content: SHA-256 over the shards' hashes, in order."""
        hashes = [[split, [shard.sha256 for shard in shards]] for split, shards in sorted(self.splits.items())]
        return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()

    def split(self, name: str) -> tuple[Shard, ...]:
        """The shards of a split, in order. Raises DavidError where there is none of that name or it is empty."""
        if not self.splits.get(name):
            there = ", ".join(split for split, shards in self.splits.items() if shards)
            raise DavidError(f"{self.folder}: no samples in a split `{name}`; there is {there}")
        return self.splits[name]

    def samples(self, split: str) -> int:
        return sum(shard.samples for shard in self.splits.get(split, ()))

    def write(self) -> None:
        content = {"format": self.format, "version": self.version, "sha256": _UNSIGNED} | asdict(self)
        del content["folder"]
        if not self.belongs:
            del content["belongs"]
        if self.version == 1:
            del content["fields"]
        unsigned = json.dumps(content, indent=1).encode() + b"\n"
        signature = hashlib.sha256(unsigned).hexdigest().encode()
        write_whole(self.folder / NAME, unsigned.replace(_UNSIGNED.encode(), signature, 1))


def load(folder: Path) -> Manifest:
    """The manifest of a shard set. Raises DavidError where the folder holds none that this version reads, or that of a
    sidecar, which is no set by itself."""
    found = load_any(folder)
    if found.belongs:
        raise DavidError(f"{folder}: labels of a shard set, and no set by itself; name it behind one: SHARDS+{folder}")
    return found


def load_any(folder: Path) -> Manifest:
    """As `load`, of a sidecar too."""
    require_folder(Path(folder))
    path = Path(folder) / NAME
    try:
        text = path.read_bytes()
        content = json.loads(text)
        found = content.pop("format"), content.pop("version")
        if found not in [*((FORMAT, version) for version in VERSIONS), (LABELS, VERSION)]:
            raise DavidError(
                f"{path}: holds `{found[0]}` version {found[1]}, this david reads `{FORMAT}` "
                f"{' and '.join(map(str, VERSIONS))}"
            )
        signature = content.pop("sha256").encode()
        if hashlib.sha256(text.replace(signature, _UNSIGNED.encode(), 1)).hexdigest().encode() != signature:
            raise ValueError("it changed after packing: its SHA-256 is not the one it holds")
        splits = {name: tuple(map(Shard.parse, shards)) for name, shards in content.pop("splits").items()}
        fields = FIELDS_V1 if found[1] == 1 else parse_fields(content.pop("fields"), found[0])
        manifest = Manifest(folder=Path(folder), splits=splits, fields=fields, version=found[1], **content)
        _check(manifest)
        if found[0] != manifest.format:
            raise ValueError(f"`belongs` is {str(manifest.belongs)[:80]}")
        return manifest
    except OSError as error:
        raise DavidError(
            f"{folder}: no shards there (no {NAME}: {error.strerror}); make them: david pack RAW {folder}"
        ) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise DavidError(
            f"{path}: not a manifest of shards ({type(error).__name__}: {error}); copy it again, or pack the set anew "
            "with --restart"
        ) from error


def require_folder(path: Path) -> None:
    """Raise DavidError where a file is given for a shard set."""
    if path.is_file():
        raise DavidError(f"{path}: a file; expected the folder of a shard set")


def parse_fields(rows: list[dict[str, Any]], kind: str = FORMAT) -> Fields:
    """A table of fields from JSON. Raises ValueError, KeyError or TypeError where it is none that this david reads."""
    fields = tuple(Field(**row) for row in rows)
    check_fields(fields if kind == FORMAT else (RGB, *fields))
    return fields


def check_fields(fields: Fields) -> None:
    """Raises ValueError, KeyError or TypeError where this is no table of fields of a shard set."""
    names = [one.name for one in fields]
    if not fields or fields[0] != RGB or len(set(names)) < len(names):
        raise ValueError(f"its fields are {', '.join(map(str, names))}, expected rgb, an image, and others after it")
    for number, one in enumerate(fields[1:], 1):
        if not _FIELD.fullmatch(one.name) or one.name == "json":
            raise ValueError(f"a field's name is not as expected: {str(one.name)[:200]!r}")
        if one.coding not in CODINGS or not one.planes:
            known = ", ".join(name for name, coding in CODINGS.items() if coding.planes)
            raise ValueError(f"{one.name} is coded as {str(one.coding)[:40]!r}; this david reads {known}")
        if one.within is not None and one.within not in names[1:number]:
            raise ValueError(f"{one.name} lies within {str(one.within)[:40]!r}, which is no field before it")


def _check(manifest: Manifest) -> None:
    """Raises ValueError, LookupError, TypeError or AttributeError where something is not what readers count on."""
    extensions(manifest.image, manifest.compression, manifest.fields)
    names = [shard.name for shards in manifest.splits.values() for shard in shards]
    if len(set(names)) < len(names):
        raise ValueError("a shard is listed twice")
    for split in manifest.splits:
        Shard.parse_name(split)
    tables = dict.fromkeys(("options", "raw", "report", "libraries", "belongs"), dict)
    for name, kind in {**tables, "quarantined": list}.items():
        if type(getattr(manifest, name)) is not kind:
            raise TypeError(f"`{name}` is no {kind.__name__}")
    _texts("options", [manifest.options.get("source", "")])
    if manifest.belongs:
        _texts("belongs", [manifest.belongs["shards"], *(manifest.belongs["teacher"][name] for name in TEACHER)])
    for sample in manifest.quarantined:
        _texts("quarantined", [sample[key] for key in ("id", "where", "reason")])
    _texts("libraries", manifest.libraries.values())
    if manifest.raw:
        _texts("raw", [manifest.raw["digest"], *(archive["name"] for archive in manifest.raw["archives"])])
        if type(manifest.raw["samples"]) is not int:
            raise TypeError("`raw` counts no samples")


def _texts(name: str, values: Iterable[Any]) -> None:
    if any(type(value) is not str for value in values):
        raise TypeError(f"`{name}` holds something else than text")
