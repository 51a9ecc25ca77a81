"""The sources that `david pack` knows, by name; which one raw data is of is guessed where that is unmistakable."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.pack.sources.folder import Folder
from david.pack.sources.nyu_labeled import NyuLabeled
from david.pack.sources.source import Source
from david.pack.sources.synthhuman import SynthHuman

SOURCES: dict[str, type[Source]] = {one.name: one for one in (SynthHuman, Folder, NyuLabeled)}


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
    """By the options that one source alone has, then by what each recognises; SynthHuman where nothing tells."""
    if told:
        able = [name for name, kind in SOURCES.items() if told.keys() <= {one.name for one in fields(kind)}]
        if len(able) == 1:
            return able[0]
    if isinstance(raw, Path):
        for name, kind in SOURCES.items():
            if kind.recognises(raw):
                return name
    return SynthHuman.name
