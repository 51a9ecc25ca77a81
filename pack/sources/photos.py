"""Which pictures are no photographs, where nobody said what is what: by their names, and by what they hold."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from david.pack.errors import BadSample, DavidError
from david.pack.raw import png
from david.pack.raw.archive import Member

SAY = (
    "say which files are what, as --rgb 'rgb/*.jpg' --depth 'depth/*.png', or that all are photographs: "
    "--rgb '**.{png,jpg,jpeg}'"
)
_FOLDERS = {"depth": "depth", "depths": "depth", "normals": "normals", "alpha": "alpha"}
_FILES = _FOLDERS | {"normal": "normals"}


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
