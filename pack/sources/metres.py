"""What sources of metric depth share: files that a list names, 16-bit PNGs of whole steps, and samples made of both.

Sensors store whole steps, which are kept as they are (coding u16-linear): metres come back exactly, and 0 is a hole.

Legend: H rows, W columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, picture, png
from david.pack.raw.archive import Entry, Found, Member
from david.pack.raw.zip_faults import STORED
from david.pack.shards.sample import Sample
from david.pack.sources import listing, paired
from david.pack.sources.listing import Row

_PIXEL_BYTES = 16  # more than a pixel of any of these pictures takes in a file
_ROOM_BYTES = 1 << 20  # for headers and profiles
ENOUGH_STEPS = 64  # different ones, from which on their low bits tell something
MM = 0.001
FARTHEST_MM = 8000  # what SUN RGB-D's sensors see at most
_MOST_FAR, _FEW_FAR = 0.5, 0.1  # of the depths beyond that, by the wrong reading and by the right one
_READ = {True: "SUN RGB-D's raw depth, whose bits are rotated", False: "plain millimetres"}
LISTED_IN = ("", "train_test_inputs")  # folders that lists of those who followed BTS lie in

Places = Mapping[str, Sequence[str]]  # by kind: folders of the raw data that its files may lie in, "" for itself


def folder(raw: object, name: str, expected: str) -> Path:
    """`raw`, where it is a folder. Raises DavidError."""
    if not isinstance(raw, Path) or not raw.is_dir():
        raise DavidError(f"{raw}: no folder there; expected that of {name}, with {expected}")
    return raw


def lists(raw: Path, names: dict[str, str], told: dict[str, Path | None]) -> dict[str, Path]:
    """By split, the lists that the user told, or those that lie where they usually do."""
    given = {split: path for split, path in told.items() if path is not None}
    if given:
        return {split: path if path.exists() else raw / path for split, path in given.items()}
    places = {split: [raw / inside / name for inside in LISTED_IN] for split, name in names.items()}
    found = {split: next((path for path in paths if path.is_file()), None) for split, paths in places.items()}
    return {split: path for split, path in found.items() if path is not None}


def by_lists(
    raw: object, name: str, names: dict[str, str], told: dict[str, Path | None]
) -> tuple[Path, dict[str, Path]]:
    """A set's folder, and `lists` of it. Raises DavidError where it is no folder, or has no list."""
    there = folder(raw, name, f"{names['train']} and {names['test']} in it")
    found = lists(there, names, told)
    if not found:
        raise DavidError(
            f"{there}: none of {names['train']} and {names['test']} there or in {LISTED_IN[1]}; put them there, or "
            "say where they are: --train-list, --test-list"
        )
    return there, found


def member(raw: Path, name: str) -> Member | None:
    """A loose file; None where there is none."""
    path = raw / name
    if not path.is_file():
        return None
    size = path.stat().st_size
    return Member(raw, name, size, None, None, size, STORED)


def listed(
    raw: Path, rows: Iterable[Row | BadSample], places: Mapping[str, Places], bad: dict[str, BadSample] | None
) -> Found:
    """The samples that rows name, in order of their keys; places: of each split's files, the first that has one counts.

    Raises BadSample for a row that is none, names a file that is not there, or one that an earlier row named; with
    `bad` these are left out and put there."""
    found: Found = {}
    before: dict[str, str] = {}
    faults: dict[str, BadSample] = {}
    for key, row in listing.keyed(list(rows)):
        if isinstance(row, BadSample):
            faults[key] = row
        elif key in before:
            faults[key] = BadSample(row.where, f"{row.files['rgb']} is there twice, before at {before[key]}")
        else:
            before[key], members = row.where, {}
            for kind, name in row.files.items():
                folders = places[row.split or ""][kind]
                tried = (member(raw, f"{inside}/{name}" if inside else name) for inside in folders)
                if (one := next(filter(None, tried), None)) is None:
                    under = " or ".join(str(raw / inside) for inside in folders)
                    faults[key] = BadSample(row.where, f"{kind} `{name}` is not there; expected it under {under}")
                    break
                members[kind] = one
            else:
                found[key] = Entry(members, row.split, row.told)
    return whole(found, faults, bad)


def begins(raw: Path, lists: Mapping[str, Path], places: Mapping[str, Places]) -> bool:
    """Whether the first picture of one of these lists, by split, is there."""
    for split, path in lists.items():
        row = next(iter(listing.lines(path, split)), None)
        if isinstance(row, Row) and listed(raw, [row._replace(files={"rgb": row.files["rgb"]})], places, {}):
            return True
    return False


def whole(found: Found, faults: dict[str, BadSample], bad: dict[str, BadSample] | None) -> Found:
    """What was found without what was at fault, in order. Raises the first fault where none may be set aside."""
    if faults and bad is None:
        raise next(iter(faults.values()))
    if bad is not None:
        bad.update(sorted(faults.items()))
    return {key: found[key] for key in sorted(found.keys() - faults.keys())}


def read(entry: Entry, max_pixels: int) -> dict[str, bytes]:
    """The bytes of a sample's members, none of them larger than a picture of so many pixels can be."""
    most = _PIXEL_BYTES * max_pixels + _ROOM_BYTES
    return {kind: archive.read(one, most) for kind, one in entry.members.items()}


def steps(member: Member, data: bytes, max_pixels: int) -> np.ndarray:
    """(H, W) uint16 as stored. Raises BadSample where it is no grey PNG of 16 bits: one of 8 is a picture of depth, in
    steps that nobody knows."""
    pixels = picture.steps(member, data, max_pixels)
    if pixels.dtype != np.uint16:
        raise BadSample(member.where, f"expected a PNG of 16 bits, found {png.read_header(data).bits}: is it for show?")
    return pixels


def unrotated(stored: np.ndarray) -> np.ndarray:
    """Millimetres (uint16) of what SUN RGB-D's raw files hold."""
    return (stored >> 3) | (stored << 13)


def rotated(stored: np.ndarray) -> bool:
    """Whether whole steps (uint16) are bit-rotated, as SUN RGB-D's raw files are: of many different ones the three low
    bits, which any other sensor's fill, are those of steps beyond 8,191, that is nearly always 0."""
    known = np.flatnonzero(np.bincount(stored.ravel(), minlength=1 << 16)[1:]) + 1
    return bool(known.size >= ENOUGH_STEPS and np.count_nonzero(known & 7) < known.size / ENOUGH_STEPS)


def turned(stored: np.ndarray) -> str | None:
    """What shows that whole steps (uint16) are `rotated`, as a sentence; None where nothing does."""
    if not rotated(stored):
        return None
    least, most = stored[stored > 0].min(), stored.max()
    return f"its depths, {least} to {most}, are multiples of 8, as in SUN RGB-D's raw files, whose bits are rotated"


def misread(stored: np.ndarray, as_rotated: bool) -> str | None:
    """What shows that whole steps (uint16) make sense only if their bits are read the other way, as a sentence; None
    where nothing does. as_rotated: whether they are read as SUN RGB-D's raw files are, or as plain millimetres

    The wrong reading puts nearly all of them beyond what those sensors see, the right one hardly any."""
    if not (stored > 0).any():
        return None
    plain, other = (float(np.mean(one[stored > 0] > FARTHEST_MM)) for one in (stored, unrotated(stored)))
    ours, theirs = (other, plain) if as_rotated else (plain, other)
    if not (ours > _MOST_FAR and theirs < _FEW_FAR):
        return None
    told = f"{ours:.0%} of its depths are beyond 8 m if they are read as {_READ[as_rotated]}"
    return f"{told}, and {theirs:.0%} if as {_READ[not as_rotated]}"


def require_size(entry: Entry, kind: str, values: np.ndarray, rgb: np.ndarray) -> None:
    """Raises BadSample where a field of a sample is of another size than its image."""
    paired.require_size(entry.members.get(kind, entry.members["rgb"]), kind, values, rgb, entry.members["rgb"])


def sample(
    key: str,
    entry: Entry,
    data: dict[str, bytes],
    rgb: np.ndarray,
    depth: np.ndarray | None,
    known: np.ndarray | None = None,
    *,
    step_m: float = 1.0,
    intrinsics: np.ndarray | None = None,
    fields: dict[str, np.ndarray] | None = None,
    **meta: object,
) -> Sample:
    """depth: (H, W) in steps of `step_m`, infinite for sky, None where there is no truth; known: (H, W) bool, where it
    means something; fields: others that are valid everywhere; meta: what else there is to tell.

    Raises BadSample where depth is of another size than the picture."""
    values, masks = dict(fields or {}), {name: np.ones(rgb.shape[:2], bool) for name in fields or {}}
    for name, value in (values if depth is None else values | {"depth": depth}).items():
        require_size(entry, name, value, rgb)
    if depth is not None and known is not None:
        sky = np.isposinf(depth) & ~known
        values["depth"] = np.where(known, depth, np.where(sky, np.float32(np.inf), np.float32(np.nan)))
        values["depth"], masks["depth"] = values["depth"].astype(np.float32), known
    told = paired.told(entry, data) | meta
    return Sample(key, rgb, values, masks, intrinsics=intrinsics, meta=told, step_m=step_m)
