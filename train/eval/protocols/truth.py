"""Where a benchmark's truth comes from: files in their published layout read in place, or a shard set packed of them.
Without torch: a wrong root is refused at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from david.pack import read
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Seen
from david.pack.errors import DavidError
from david.pack.shards import manifest
from david.pack.shards.sample import Sample
from david.pack.sources import table as sources
from david.pack.sources.folder import Folder
from david.pack.sources.synthhuman import SynthHuman
from david.train.eval.protocols.figures import IN_META, TARGETS
from david.train.eval.protocols.table import Protocol

MOST_PIXELS = 1 << 26  # of one image: 67 million
SOME = 64  # samples from which a constant answer is chosen
LOOKED_AT = 8  # samples whose units and axes are looked at before all are measured


@dataclass(frozen=True)
class Truth:
    """root: where it lies; images: how many; fields: of a prediction that there is truth for, in the protocol's order;
    each: all samples, one after the other, decoded when they are asked for; about: of it, as JSON; doubts: what looks
    wrong and was accepted, as sentences"""

    root: Path
    images: int
    fields: tuple[str, ...]
    each: Callable[[], Iterator[Sample]]
    about: dict[str, Any]
    doubts: tuple[str, ...] = ()
    spread: Callable[[], Iterator[Sample]] | None = None

    def some(self) -> Iterator[Sample]:
        """At most `SOME` samples: spread over all, where they lie in files; a packed set has them shuffled."""
        return islice(self.each(), SOME) if self.spread is None else self.spread()


def found(protocol: Protocol, root: Path, told: dict[str, Any] | None = None, accept: Sequence[str] = ()) -> Truth:
    """The truth of a benchmark in a folder. told: options of its source, of which None says nothing; accept: names of
    conventions that may look broken.

    Raises DavidError where it is not there, not whole, or of other units or axes than is said."""
    if (root / manifest.NAME).is_file():
        seen = [one for one in accept if one != "depth" or protocol.span is None]  # else of what a network says, too
        return _packed(protocol, root, (told or {}) | {"accept": seen or None})
    known = (one for one in protocol.others if sources.SOURCES[one].recognises(root))
    source = sources.chosen(root, next(known, protocol.source), told)
    accepted = conventions.to_accept(accept, source.checks, source.name)
    listed = {key: one for key, one in source.scan(root).items() if one.split in (None, protocol.split or one.split)}
    if not listed:
        raise DavidError(f"{root}: none of its samples is of the split {protocol.split}, which this benchmark takes")
    fields = source.fields(listed)
    keys = list(listed)
    spread = dict.fromkeys(keys[place * len(keys) // LOOKED_AT] for place in range(LOOKED_AT))
    some = (source.load(key, listed[key], MOST_PIXELS) for key in spread)
    told_of = (one for one in some if protocol.span is None or "depth" not in one.values or one.depth_valid.any())
    looked = (evidence.examine(one, fields)[2] for one in told_of)  # the others will be left out
    faults = conventions.faults([Seen(root, one) for one in looked], source.checks)
    for fault in faults:
        if fault.convention not in accepted:
            may = f"; if it is right as it is, --accept {fault.convention}" if fault.convention else ""
            raise DavidError(f"{root}: {fault.told}{may}")

    def each() -> Iterator[Sample]:
        return (source.load(key, entry, MOST_PIXELS) for key, entry in listed.items())

    def spread_out() -> Iterator[Sample]:
        return (source.load(key, listed[key], MOST_PIXELS) for key in keys[:: -(-len(keys) // SOME)])

    about, names = {"source": source.name, **source.options()}, {one.name for one in fields}
    doubts = tuple(one.told for one in faults)
    return Truth(root, len(listed), _fields(protocol, root, names), each, about, doubts, spread_out)


def _packed(protocol: Protocol, root: Path, told: dict[str, Any]) -> Truth:
    if given := [name for name, value in told.items() if value is not None]:
        raise DavidError(f"--{given[0].replace('_', '-')}: {root} is a shard set, packed with what it was told then")
    dataset = manifest.load(root)
    of = dataset.options.get("source", SynthHuman.name)
    able = (protocol.source, *protocol.others)
    if of in sources.SOURCES and of not in (*able, Folder.name):
        raise DavidError(f"{root}: a set of {of}, and this benchmark is measured on {' or '.join(able)}")
    splits = [one for one in dataset.splits if one == (protocol.split or one)]
    if not splits:
        there = ", ".join(dataset.splits)
        raise DavidError(
            f"{root}: has the splits {there}, and none called {protocol.split}, which this benchmark takes"
        )

    def each() -> Iterator[Sample]:
        return (sample for split in splits for sample in read(root, split))

    images = sum(dataset.samples(split) for split in splits)
    names = {one.name for one in dataset.fields}
    return Truth(root, images, _fields(protocol, root, names), each, {"shards": dataset.fingerprint})


def _fields(protocol: Protocol, root: Path, names: set[str]) -> tuple[str, ...]:
    fields = tuple(field for field in protocol.figures if TARGETS[field] in {*names, IN_META})
    if not fields or (protocol.band == "trimap" and "trimap" not in names):
        needed = [TARGETS[field] for field in protocol.figures] + ["trimap"] * (protocol.band == "trimap")
        raise DavidError(f"{root}: holds {', '.join(sorted(names))}; this benchmark needs {', '.join(needed)}")
    return fields
