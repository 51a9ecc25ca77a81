"""Which pictures are photographs and which are not, where nobody said what is what: by their names, and by what they
hold."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from david.pack.errors import BadSample, DavidError
from david.pack.raw import picture, png
from david.pack.raw.archive import Member

SUFFIXES = (*picture.PICTURES, ".webp", ".bmp", ".gif", ".avif")  # of what is taken where nobody says what is what
ALL = (*SUFFIXES, ".tif", ".tiff")  # these may hold depth as well
SAY = (
    "say which files are what, as --rgb 'rgb/*.jpg' --depth 'depth/*.png', or that all are photographs: "
    "--rgb '**.{png,jpg,jpeg}'"
)
LOOKED = 1000  # files of a folder, after which it is known what they are
_OF_SYNTHHUMAN = re.compile(r"rgb_[0-9]+\.png")
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # that file managers leave, beside those whose names begin with a dot
_FOLDERS = {"depth": "depth", "depths": "depth", "normals": "normals", "alpha": "alpha"}
_FILES = _FOLDERS | {"normal": "normals"}


def alone(folder: Path) -> bool:
    """Whether a folder holds photographs and nothing else, by the names of the files that are met first: unmistakably
    pictures without labels."""
    names = list(islice(_names(folder), LOOKED))
    return bool(names) and not any(
        PurePosixPath(name).suffix.lower() not in SUFFIXES
        or _kind(name)
        or _OF_SYNTHHUMAN.fullmatch(PurePosixPath(name).name)
        for name in names
    )


def _names(folder: Path) -> Iterator[str]:
    """Of the files in a folder and below it, those left out that nobody put there."""
    for root, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(".") and name.lower() not in _OF_SYSTEMS:
                yield str(Path(root, name).relative_to(folder))


def require(where: object, names: Iterable[str]) -> None:
    """Raises DavidError where some of these names tell of depth, normals or alpha."""
    others = [(name, kind) for name in names if (kind := _kind(name))]
    if others:
        (name, kind), more = others[0], len(others) - 1
        raise DavidError(
            f"{where}: {name}{f' and {more:,} more' if more else ''} would be packed as photographs, and by their "
            f"names are {kind} and the like; {SAY}"
        )


def _kind(name: str) -> str | None:
    """What a file's name tells of it, or the name of a folder above it: by its last word, as in `0001_depth.png`."""
    *folders, file = PurePosixPath(name).parts
    for folder in folders:
        if kind := _FOLDERS.get(_words(folder)[-1]):
            return kind
    words = _words(PurePosixPath(file).stem)
    return _FILES.get(words[-1]) if len(words) > 1 else None


def _words(name: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", name.lower())


def require_photo(member: Member, data: bytes) -> None:
    """Raises BadSample where a picture that can be decoded is a grey PNG of 16 bits, as depth is kept."""
    if data.startswith(png.SIGNATURE):
        header = png.read_header(data)
        if (header.colour, header.bits) == ("grey", 16):
            raise BadSample(member.where, f"a grey PNG of 16 bits, as depth is kept, and no photograph; {SAY}")
