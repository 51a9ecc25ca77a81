"""INPUT ... of a command line to the inputs that they name, in order, each with the name of what is written of it.

A file is taken as it is; a folder gives the files in it and below that look like inputs, sorted by path; anything else
with `*`, `?` or `[` is a pattern (`**` for folders below); `webcam` and `webcam:N` are cameras. Nothing is decoded
here.
"""

import glob
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePath

from david.model.predict import pictures, video, webcam
from david.pack.errors import DavidError

IMAGE, VIDEO, WEBCAM = "image", "video", "webcam"
KINDS: dict[str, tuple[str, ...]] = {
    IMAGE: pictures.SUFFIXES,
    VIDEO: video.SUFFIXES,
}  # of inputs, and how the names of their files end


@dataclass(frozen=True)
class Input:
    """One. name: for people and in records, as it was given; path: of its file; kind: of KINDS; stem: where what is
    written of it lies below the folder of outputs, `folder/name` without an ending"""

    name: str
    path: Path
    kind: str
    stem: str


@dataclass(frozen=True)
class Listing:
    """inputs: in order; passed_over: files of folders that look like no input"""

    inputs: tuple[Input, ...]
    passed_over: int = 0


@dataclass(frozen=True)
class _Found:
    path: Path
    below: PurePath  # of the folder that was named, the path therein; of a file its name
    named: int  # the place of what led to it among what was named


class _Outputs:
    """The folder of outputs, however its name is written, as seen from a folder where inputs are looked for: where it
    is that folder or lies below, nothing in it is an input. Where inputs are looked for in it or below, and of files
    that were named, those are none that earlier runs wrote."""

    def __init__(self, folder: Path | None, made: Callable[[], Collection[str]]):
        self._folder, self._earlier = Path(os.path.realpath(folder)) if folder else None, made
        self._real = cache(lambda folder: Path(os.path.realpath(folder)))

    def are(self, folder: Path) -> bool:
        return self._real(folder) == self._folder

    def hold(self, folder: Path) -> bool:
        """Whether a folder is it, or lies in it."""
        return self._folder is not None and self._real(folder).is_relative_to(self._folder)

    def wrote(self, path: Path) -> bool:
        if self._folder is None or not self.hold(path.parent):
            return False
        return str(self._real(path.parent).relative_to(self._folder) / path.name) in self._made

    @cached_property
    def _made(self) -> Collection[str]:
        return self._earlier()


def listed(names: Sequence[str], out: Path | None = None, made: Callable[[], Collection[str]] = frozenset) -> Listing:
    """What `names` lead to, each file once. out: a folder of outputs, which is no input where it lies in one; made:
    asked, where need be, for the files in it that earlier runs wrote, by their paths there.

    A stem is the path below the folder that was named, without its ending; inputs that would share one keep their
    endings, and where these are alike too, begin with the number of what was named. Raises DavidError where a name
    leads to nothing."""
    found: dict[Path, _Found] = {}
    passed_over, outputs = 0, _Outputs(out, made)
    for named, name in enumerate(names):
        before = len(found)
        for path, below in _of(name, outputs):
            if below is None:
                passed_over += 1
            else:
                found.setdefault(path.absolute(), _Found(path, below, named))
        if len(found) == before and not outputs.wrote(Path(name)) and not _leads_to_any(name, found):
            raise DavidError(_nothing(name, outputs))
    if not found:
        raise DavidError(_nothing(names[0], outputs))
    every = list(found.values())
    stems = _stems(every)
    return Listing(
        tuple(Input(str(one.path), one.path, _kind(one.path), stem) for one, stem in zip(every, stems, strict=True)),
        passed_over,
    )


def _of(name: str, outputs: _Outputs) -> Iterator[tuple[Path, PurePath | None]]:
    """Files that a name leads to, each with its path below what was named, None where it looks like no input."""
    if not name:
        raise DavidError("an empty INPUT, as of a shell's variable that is not set; `.` is this folder")
    path = Path(name)
    if path.is_dir():
        yield from ((one, one.relative_to(path) if _looks(one) else None) for one in _walk(path, outputs))
    elif os.path.lexists(path):
        if not outputs.wrote(path):
            yield path, PurePath(path.name)
    elif (camera := webcam.number(name)) is not None:
        yield path, PurePath(f"webcam_{camera}-{time.strftime('%Y%m%d-%H%M%S')}")  # each take is another
    elif glob.has_magic(name):
        root, pattern = _split(path)
        within = outputs.hold(root)
        for one in sorted(root.glob(pattern)):
            ours = outputs.wrote(one) if within else outputs.hold(one.parent)
            if not ours and not one.is_dir() and not one.name.startswith("."):
                yield one, one.relative_to(root) if _looks(one) else None


def _walk(folder: Path, outputs: _Outputs) -> Iterator[Path]:
    """Files in a folder and below, through links too, sorted, each folder once; not hidden ones, and no outputs."""
    seen: set[tuple[int, int]] = set()
    within = outputs.hold(folder) and not outputs.are(folder)

    def refuse(error: OSError) -> None:
        raise DavidError(
            f"{error.filename}: can't be looked into ({error.strerror}); change its rights, or leave it out"
        )

    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        found = Path(root).stat()
        if (found.st_dev, found.st_ino) in seen or (not within and outputs.hold(Path(root))):
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        there = (Path(root, name) for name in sorted(files) if not name.startswith("."))
        yield from (one for one in there if not (within and outputs.wrote(one)))


def _looks(path: Path) -> bool:
    return any(path.suffix.lower() in suffixes for suffixes in KINDS.values())


def _kind(path: Path) -> str:
    """A file that was named itself may be called anything: it is taken for a picture."""
    if webcam.number(str(path)) is not None and not os.path.lexists(path):
        return WEBCAM
    return next((kind for kind, suffixes in KINDS.items() if path.suffix.lower() in suffixes), IMAGE)


def _split(pattern: Path) -> tuple[Path, str]:
    """The folders before the first that is a pattern, and the rest."""
    magic = next(place for place, part in enumerate(pattern.parts) if glob.has_magic(part))
    return Path(*pattern.parts[:magic]), str(PurePath(*pattern.parts[magic:]))


def _leads_to_any(name: str, found: dict[Path, _Found]) -> bool:
    """Whether all that a name leads to was named before."""
    return any(below is not None and path.absolute() in found for path, below in _of(name, _Outputs(None, frozenset)))


def _nothing(name: str, outputs: _Outputs) -> str:
    endings = ", ".join(dict.fromkeys(suffix for suffixes in KINDS.values() for suffix in suffixes))
    if Path(name).is_dir() and outputs.are(Path(name)):
        return f"{name}: the folder of outputs, which holds no inputs; name another --out"
    if outputs.wrote(Path(name)):
        return f"{name}: an earlier david predict wrote it there, so it is no input; name another --out"
    if Path(name).is_dir():
        return f"{name}: a folder without inputs; files in it and below are taken where they end in {endings}"
    if glob.has_magic(name):
        return f"{name}: no input matches this pattern; files are taken where they end in {endings}"
    return f"{name}: no such file or folder; expected a picture, a folder of them, or a pattern such as 'photos/*.jpg'"


def _stems(found: Sequence[_Found]) -> list[str]:
    """One for each, all different."""
    short = [str(one.below.with_suffix("")) for one in found]
    shared = _repeated(short)
    stems = [str(one.below) if stem in shared else stem for one, stem in zip(found, short, strict=True)]
    shared = _repeated(stems)
    stems = [f"{one.named + 1}/{one.below}" if stem in shared else stem for one, stem in zip(found, stems, strict=True)]
    while shared := _repeated(stems):  # folders that are called like numbers, names that end as others begin
        stems = [f"{place + 1}_{stem}" if stem in shared else stem for place, stem in enumerate(stems)]
    return stems


def _repeated(stems: Iterable[str]) -> set[str]:
    return {stem for stem, count in Counter(stems).items() if count > 1}
