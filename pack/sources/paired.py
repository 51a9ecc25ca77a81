"""Layouts in which the files of one sample have the same path in folders side by side, as benchmarks have them:
`image/a/1.jpg` with `mask/a/1.png`.

A benchmark that is measured on a part of its images is another one: a file without its partner is refused, whichever of
the two lacks.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, picture
from david.pack.raw.archive import Entry, Found, Member
from david.pack.sources import listing
from david.pack.sources.listing import Row
from david.pack.sources.source import Raw


@dataclass(frozen=True)
class Place:
    """Where the files of one kind lie. folder: below the root; endings: that they may have; needed: whether each root
    has the folder; a folder that is there has a file for each image"""

    folder: str
    endings: tuple[str, ...] = picture.PICTURES
    needed: bool = True


@dataclass(frozen=True)
class Layout:
    """places: kind -> where, `rgb` first; inside: names of a folder that may hold them, one further down"""

    places: dict[str, Place]
    inside: tuple[str, ...] = ()

    def root(self, raw: Path) -> Path:
        """The folder that holds those of the layout: `raw`, or one in it."""
        first = next(iter(self.places.values())).folder
        roots = (raw, *(raw / name for name in self.inside))
        return next((root for root in roots if (root / first).is_dir()), raw)

    def there(self, root: Path) -> dict[str, Place]:
        return {kind: place for kind, place in self.places.items() if (root / place.folder).is_dir()}

    def fits(self, raw: Path) -> bool:
        """Whether all that is needed is there, and one of what else may be."""
        there = self.there(self.root(raw))
        may = [kind for kind, place in self.places.items() if not place.needed]
        return all(kind in there for kind in self.places if kind not in may) and (
            not may or any(kind in there for kind in may)
        )

    def said(self) -> str:
        """The folders in words."""
        folders = [place.folder for place in self.places.values() if place.needed]
        may = [place.folder for place in self.places.values() if not place.needed]
        return ", ".join(folders) + (f", and {' or '.join(may)} or both" if may else "")


def scan(raw: Raw, name: str, layout: Layout, split: str, bad: dict[str, BadSample] | None = None) -> Found:
    """All samples, by path in their folders; name: of the source, for errors; split: of all samples.

    Raises DavidError where a folder lacks or holds no image, BadSample where a file has no partner; with `bad` these
    are left out and put there."""
    if not isinstance(raw, Path) or not raw.is_dir():
        raise DavidError(f"{raw}: no folder there; expected that of {name}, with {layout.said()} in it")
    root = layout.root(raw)
    there = layout.there(root)
    if not layout.fits(raw):
        lacking = next(place.folder for kind, place in layout.places.items() if kind not in there)
        raise DavidError(f"{root}: has no folder `{lacking}`; {name} has {layout.said()}")
    files = {kind: _files(root / place.folder, place) for kind, place in there.items()}
    if not files["rgb"]:
        place = there["rgb"]
        raise DavidError(f"{root / place.folder}: no image there; expected files ending in {_or(place.endings)}")
    found: Found = {}
    faults: dict[str, BadSample] = {}
    for key, row in listing.keyed(_rows(root, there, files)):
        if isinstance(row, BadSample):
            faults[key] = row
        else:
            members = {kind: files[kind][row.id or ""][0] for kind in row.files}
            found[key] = Entry(members, split)
    if faults and bad is None:
        raise next(iter(faults.values()))
    if bad is not None:
        bad.update(sorted(faults.items()))
    return {key: found[key] for key in sorted(found.keys() - faults.keys())}


def _files(folder: Path, place: Place) -> dict[str, list[Member]]:
    """By path without ending; hidden files, and those of other endings, are none."""
    files: dict[str, list[Member]] = {}
    for member in archive.members(folder):
        path = PurePosixPath(member.name)
        if path.suffix.lower() in place.endings and not any(part.startswith(".") for part in path.parts):
            inside = (
                member._replace(archive=folder.parent, name=f"{folder.name}/{member.name}") if place.folder else member
            )
            files.setdefault(str(path.with_suffix("")), []).append(inside)
    return files


def _rows(root: Path, there: dict[str, Place], files: dict[str, dict[str, list[Member]]]) -> list[Row | BadSample]:
    rows: list[Row | BadSample] = []
    for stem in sorted({stem for of_kind in files.values() for stem in of_kind}):
        got = {kind: files[kind].get(stem, []) for kind in there}
        fault = next((_fault(root, kind, there, got, stem) for kind in there if len(got[kind]) != 1), None)
        names = {kind: members[0].name for kind, members in got.items() if members}
        rows.append(fault or Row(f"{root}, {names['rgb']}", names, None, stem))
    return rows


def _fault(root: Path, kind: str, there: dict[str, Place], got: dict[str, list[Member]], stem: str) -> BadSample:
    """One kind has no file of this path, or several."""
    if len(got[kind]) > 1:
        first, second = got[kind][:2]
        return BadSample(second.where, f"is there twice, also as {first.name}; leave one of them")
    place, other = there[kind], next(members[0] for members in got.values() if members)
    expected = f"{place.folder}/{stem}" + (
        place.endings[0] if len(place.endings) == 1 else f" with {_or(place.endings)}"
    )
    return BadSample(other.where, f"has no {'image' if kind == 'rgb' else kind} beside it; expected {expected}")


def _or(endings: tuple[str, ...]) -> str:
    return " or ".join(endings)


def require_size(member: Member, kind: str, values: np.ndarray, rgb: np.ndarray, of: Member) -> None:
    """Raises BadSample where a file of another kind is of another size than its image."""
    if values.shape[:2] != rgb.shape[:2]:
        raise BadSample(
            member.where,
            f"{kind} is {values.shape[0]} rows x {values.shape[1]} columns, the image {rgb.shape[0]} x {rgb.shape[1]} "
            f"({of.name}, upright); expected one size",
        )


def told(entry: Entry, data: dict[str, bytes]) -> dict[str, object]:
    """What a sample says of where it comes from, as its `meta`."""
    members = {member.name: archive.crc32(member, data[kind]) for kind, member in sorted(entry.members.items())}
    return {"source": {"archive": entry.archive.name, "members": members}}
