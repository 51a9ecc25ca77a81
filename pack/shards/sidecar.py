"""A **sidecar**: labels that belong to a shard set and lie in a folder of their own, joined to it row by row.

It has the set's splits and shards under the same names, and in each the same samples in the same order, with members of
its own fields (`schema.py`) and no image: `KEY.teacher_depth.lz4`, `KEY.json`. Its codec and compression are the set's.
Its manifest says `david labels` where a set's says `david shards`, and in `belongs` which set it belongs to, by the
set's fingerprint, and which network said what: so another set, or the same one packed anew, is never joined to it.

While it is made `.pack/label.json` holds what it depends on, and the words of the command that goes on.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from david.pack.errors import DavidError
from david.pack.shards import codecs, codings, manifest, shard
from david.pack.shards.manifest import Manifest
from david.pack.shards.schema import Compression, Field, Fields

TEACHER_DEPTH = Field("teacher_depth", "f16-relative")
PLAN = "label.json"
JOIN = "+"  # between the name of a shard set and those of its sidecars


class Labels(NamedTuple):
    """Of one sample. values, masks: as `sample.Sample` has them; size: (H, W), of the sample's image"""

    key: str
    values: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    size: tuple[int, int]


def encode(key: str, value: np.ndarray, mask: np.ndarray, field: Field, compression: Compression) -> list[bytes]:
    """A sample's members in a sidecar of one field. value: as `Sample` has it, of the sample's size; mask: (H, W) bool.

    Raises DavidError where its coding can't hold it."""
    planes, about = codings.split(field.coding, value, mask, 1.0)
    height, width = mask.shape
    told = {"id": key, "height": height, "width": width, "intrinsics": None, "fields": {field.name: about}}
    data = b"" if planes is None else codecs.encode_planes(planes, compression, field.low)
    return [data, json.dumps(told).encode()]


def decode(members: list[bytes] | list[memoryview], compression: Compression, fields: Fields) -> Labels:
    """The inverse of `encode` within the coding's precision. Raises DavidError where a member is damaged."""
    *stored, data = members
    about = shard.decode_about(data)
    size = about["height"], about["width"]
    return Labels(about["id"], *shard.decode_fields(stored, compression, fields, size, about["fields"]), size)


def load(folder: Path, name: str = "SHARDS") -> Manifest:
    """A sidecar's manifest. name: of the set that it is joined to, for advice. Raises DavidError where it is none, or
    not finished."""
    folder = Path(folder)
    if not (folder / manifest.NAME).exists() and not folder.is_file():
        begun = plan(folder)
        if begun is None:
            raise DavidError(f"{folder}: no labels there; make them: david label {name} --teacher FILE --out {folder}")
        names = [one for _, one, _ in begun["shards"]]
        done = sum((folder / manifest.RECORD / f"{one}.json").is_file() for one in names)
        raise DavidError(
            f"{folder}: half made, {done} of {len(names)} shards have labels; finish them: david label {begun['words']}"
        )
    found = manifest.load_any(folder)
    if not found.belongs:
        raise DavidError(
            f"{folder}: a shard set, and no labels of {name}; several sets are named by several --shards, and {JOIN} "
            "joins a set with what david label makes of it"
        )
    return found


def plan(folder: Path) -> dict[str, Any] | None:
    """What a sidecar that is under way depends on; None where none is. Raises DavidError where that is damaged."""
    path = folder / manifest.RECORD / PLAN
    try:
        found = json.loads(path.read_bytes())
        _ = found["belongs"]["teacher"], found["options"], found["libraries"], found["words"]
        [manifest.Shard.parse_name(name) for _, name, _ in found["shards"]]
        return found
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DavidError(
            f"{path}: no plan of david label ({type(error).__name__}: {error}); start over with --restart"
        ) from error


def joined(base: Manifest, folder: Path) -> Manifest:
    """A sidecar's manifest. Raises DavidError where it is none, not finished, or belongs to other shards than these."""
    found = load(folder, str(base.folder))
    theirs, ours = found.belongs["shards"], base.fingerprint
    rows = [
        {split: [(one.name, one.samples) for one in shards] for split, shards in one.splits.items()}
        for one in (base, found)
    ]
    if theirs != ours or rows[0] != rows[1] or (base.image, base.compression) != (found.image, found.compression):
        raise DavidError(
            f"{folder}: labels of the shard set {theirs[:16]}, and {base.folder} is {ours[:16]}, another set or packed "
            f"anew; join the one that they belong to, or label this: david label {base.folder} --teacher FILE --out DIR"
        )
    return found
