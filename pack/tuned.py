"""`tuned.json`: the settings that `david bench tune` found fastest, with what they were found on.

    hardware, versions   the machine, as rows of the benchmarks tell it
    train                settings by the recipe's paths; recipe, shards, ranks and device that they hold for; the gain
    pack                 settings by the option's name; raw, the samples that were packed; the gain

A part that was not tuned is null.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from david.pack import machine
from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pack.options import MOST_WORKERS


@dataclass(frozen=True)
class Tuned:
    """What such a file says. path: of it, to be named"""

    path: Path
    content: Mapping[str, Any]

    def part(self, name: str, option: str) -> Mapping[str, Any]:
        """`train` or `pack`. option: of `david bench tune`, that it asks for. Raises DavidError where it has none."""
        found = self.content.get(name)
        if found is None:
            raise DavidError(f"--tuned {self.path}: says nothing of david {name}; add {option} to david bench tune")
        if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
            raise self.unfit(f"no settings in its {name}")
        return found

    def elsewhere(self, here: Mapping[str, Any]) -> list[str]:
        """In what this machine and its versions are not those that it was found on, in words.

        here: of the machine, what settings depend on"""
        hardware, versions = (self.content.get(name) for name in ("hardware", "versions"))
        if not isinstance(hardware, dict) or not isinstance(versions, dict):
            raise self.unfit("no hardware and versions")
        now = {**here, **machine.versions()}
        before = {**{name: hardware.get(name) for name in here}, **versions}
        return [f"{name} {old} there, {now.get(name)} here" for name, old in before.items() if old != now.get(name)]

    def unfit(self, why: str) -> DavidError:
        return DavidError(f"--tuned {self.path}: not what david bench tune writes ({why}); tune again")


def read(path: Path) -> Tuned:
    """Raises DavidError where there is no such file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DavidError(f"--tuned {path}: no such file; david bench tune --out {path} writes it") from error
    except (IsADirectoryError, ValueError, RecursionError) as error:
        raise Tuned(path, {}).unfit(str(error)) from error
    if not isinstance(content, dict):
        raise Tuned(path, {}).unfit("no object")
    return Tuned(path, content)


def write(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=1).encode() + b"\n")


def here() -> dict[str, Any]:
    """What packing asks of a machine."""
    return {"processor": machine.processor(), "cores": machine.cores()}


def workers(path: Path, told: int | None) -> tuple[int, str]:
    """How many processes pack, and a sentence about it. told: by --workers, which wins.

    Raises DavidError where the file says nothing of that."""
    tuned = read(path)
    settings = tuned.part("pack", "--raw RAW")["settings"]
    if more := set(settings) - {"workers"}:
        raise tuned.unfit(f"{', '.join(sorted(more))}, which is not tuned")
    found = settings.get("workers")
    if type(found) is not int or not 1 <= found <= MOST_WORKERS:
        raise tuned.unfit(f"workers {found!r}")
    winning = {"workers": told} if told and told != found else {}
    return told or found, sentence(tuned, {"workers": found}, winning, tuned.elsewhere(here()))


def sentence(tuned: Tuned, settings: Mapping[str, Any], winning: Mapping[str, Any], elsewhere: list[str]) -> str:
    """What is taken from the file and what is not, in one line. winning: what stands in place of settings, by the
    command line or by the run that goes on; elsewhere: what differs here"""
    taken = words({name: value for name, value in settings.items() if name not in winning})
    kept = ", ".join(f"{name}={shown(value)}, not {shown(settings[name])}" for name, value in winning.items())
    said = f"--tuned {tuned.path}: {taken or 'nothing of it'}" + (f"; as it is here: {kept}" if kept else "")
    if elsewhere:
        said += f"; found elsewhere, another may be best here: {'; '.join(elsewhere)}"
    return said


def words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in settings.items())


def shown(value: Any) -> str:
    """As --set takes it."""
    return "none" if value is None else str(value)
