"""The sources that `david pack` knows, by name; which one raw data is of is guessed where that is unmistakable."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.pack.sources import photos
from david.pack.sources.da2k import Da2k
from david.pack.sources.folder import Folder
from david.pack.sources.hypersim import Hypersim
from david.pack.sources.ibims import Ibims
from david.pack.sources.kitti import Kitti
from david.pack.sources.matting import P3M500NP, P3M500P, PPM100, PhotoMatte85
from david.pack.sources.nyu import Nyu
from david.pack.sources.nyu_labeled import NyuLabeled
from david.pack.sources.rendered import Rendered
from david.pack.sources.source import Source
from david.pack.sources.sunrgbd import SunRgbd
from david.pack.sources.synthhuman import SynthHuman
from david.pack.sources.vkitti2 import Vkitti2

METRIC = (Nyu, NyuLabeled, SunRgbd, Ibims, Hypersim, Kitti, Vkitti2)  # rooms and streets whose depth is in metres
KNOWN = (SynthHuman, Folder, *METRIC, Da2k, P3M500NP, P3M500P, PPM100, PhotoMatte85, Rendered)
SOURCES: dict[str, type[Source]] = {one.name: one for one in KNOWN}


def chosen(raw: Path | list[Path], name: str | None = None, told: dict[str, Any] | None = None) -> Source:
    """The source of that name with the options `told`, of which None says nothing; guessed without a name.

    Raises DavidError where there is no such source, or an option is not one of its own."""
    told = {option: value for option, value in (told or {}).items() if value is not None}
    name = name or _guessed(raw, told)
    if name not in SOURCES:
        raise DavidError(f"--source is `{name}`, but can only be {', '.join(SOURCES)}")
    kind = SOURCES[name]
    own = {one.name for one in fields(kind)}
    for option in told:
        if option not in own:
            others = " or ".join(other for other, one in SOURCES.items() if option in {f.name for f in fields(one)})
            raise DavidError(f"--{option.replace('_', '-')} is an option of --source {others}, not of {name}")
    return kind(**told)


def _guessed(raw: Path | list[Path], told: dict[str, Any]) -> str:
    """Of the sources that have these options the one that recognises the data, else a folder of one's own where it
    holds pictures and nothing else, else the first; SynthHuman where none has."""
    able = [name for name, kind in SOURCES.items() if told.keys() <= {one.name for one in fields(kind)}]
    for name in able:
        if isinstance(raw, Path) and SOURCES[name].recognises(raw):
            return name
    if Folder.name in able and isinstance(raw, Path) and photos.alone(raw):
        return Folder.name
    return able[0] if able else SynthHuman.name
