"""Which targets a loader delivers: the union of its sets' fields (see `pack/shards/schema.py`)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from david.pack.errors import DavidError
from david.pack.shards.manifest import Manifest


class Kind(NamedTuple):
    """Of a target's value: (B, channels, H, W) of this dtype."""

    channels: int
    dtype: torch.dtype


KINDS = {
    "u8": Kind(1, torch.uint8),
    "f16-affine": Kind(1, torch.float16),
    "f16-relative": Kind(1, torch.float32),
    "u16-linear": Kind(1, torch.float16),
    "octahedral-12": Kind(3, torch.float16),
}


def union(manifests: Sequence[Manifest]) -> dict[str, Kind]:
    """Field -> kind for every field of these sets, rgb apart, in the order in which they come first.

    Raises DavidError where a field is of different kinds in two sets."""
    found: dict[str, Kind] = {}
    first: dict[str, tuple[Manifest, str]] = {}
    for one in manifests:
        for field in one.labels:
            kind = KINDS[field.coding]
            other, coding = first.setdefault(field.name, (one, field.coding))
            if found.setdefault(field.name, kind) != kind:
                raise DavidError(
                    f"{one.folder}: `{field.name}` is coded as {field.coding}, in {other.folder} as {coding}; sets "
                    "that are mixed may lack fields, but a name must mean one kind of value: pack one with another"
                )
    return found
