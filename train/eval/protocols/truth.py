"""Where a benchmark's truth comes from: files in their published layout read in place, or a shard set packed of them.
Without torch: a wrong root is refused at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from david.pack import read
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Seen
from david.pack.errors import BadSample, DavidError
from david.pack.shards import manifest
from david.pack.shards.sample import Sample
from david.pack.sources import table as sources
from david.train.eval.protocols.figures import TARGETS
from david.train.eval.protocols.table import Protocol

MOST_PIXELS = 1 << 26  # of one image: 67 million
LOOKED_AT = 8  # samples whose units and axes are looked at before all are measured

T = TypeVar("T")


@dataclass(frozen=True)
class Truth:
    """root: where it lies; images: how many; fields: of a prediction that there is truth for, in the protocol's order;
    each: all samples, one after the other, decoded when they are asked for; about: of it, as JSON"""

    root: Path
    images: int
    fields: tuple[str, ...]
    each: Callable[[], Iterator[Sample]]
    about: dict[str, Any]


def found(protocol: Protocol, root: Path, told: dict[str, Any] | None = None) -> Truth:
    """The truth of a benchmark in a folder. told: options of its source, of which None says nothing.

    Raises DavidError where it is not there, not whole, or of other units or axes than is said."""
    if (root / manifest.NAME).is_file():
        return _packed(protocol, root, told or {})
    source = sources.chosen(root, protocol.source, told)
    listed = source.scan(root)
    fields = source.fields(listed)
    spread = [list(listed)[place * len(listed) // LOOKED_AT] for place in range(LOOKED_AT)]
    seen = []
    for key in dict.fromkeys(spread):
        try:
            seen.append(Seen(root, evidence.examine(source.load(key, listed[key], MOST_PIXELS), fields)[2]))
        except BadSample as error:
            raise DavidError(str(error)) from error
    if faults := conventions.faults(seen, source.checks):
        raise DavidError(f"{root}: {'; '.join(faults)}")

    def each() -> Iterator[Sample]:
        return (source.load(key, entry, MOST_PIXELS) for key, entry in listed.items())

    about = {"source": source.name, **source.options()}
    return Truth(root, len(listed), _fields(protocol, root, {one.name for one in fields}), each, about)


def _packed(protocol: Protocol, root: Path, told: dict[str, Any]) -> Truth:
    if given := [name for name, value in told.items() if value is not None]:
        raise DavidError(f"--{given[0].replace('_', '-')}: {root} is a shard set, packed with what it was told then")
    dataset = manifest.load(root)

    def each() -> Iterator[Sample]:
        return (sample for split in dataset.splits for sample in read(root, split))

    images = sum(dataset.samples(split) for split in dataset.splits)
    names = {one.name for one in dataset.fields}
    return Truth(root, images, _fields(protocol, root, names), each, {"shards": dataset.fingerprint})


def _fields(protocol: Protocol, root: Path, names: set[str]) -> tuple[str, ...]:
    fields = tuple(field for field in protocol.figures if TARGETS[field] in names)
    if not fields or (protocol.band == "trimap" and "trimap" not in names):
        needed = [TARGETS[field] for field in protocol.figures] + ["trimap"] * (protocol.band == "trimap")
        raise DavidError(f"{root}: holds {', '.join(sorted(names))}; this benchmark needs {', '.join(needed)}")
    return fields
