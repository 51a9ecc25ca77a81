"""A claim is a row: what was measured, with the hardware, versions, recipe and commit that it holds for.

Rows are JSON objects, one a line. Those that the project's own claims rest on are kept in `bench/results/`.
"""

import json
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import david
from david.pack import machine
from david.pack.errors import DavidError

SPREAD = ("least", "median", "most")  # of a figure over its rounds


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GB, and the GPU's name where there is one."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": machine.processor(),
        "cores": machine.cores(),
        "memory_gb": round(memory / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": torch.cuda.device_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def commit() -> str | None:
    """The commit that david runs from, with `+` where files differ from it; None outside a checkout."""
    root = Path(david.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def here() -> dict[str, Any]:
    """What every row of this machine and this david says: commit, hardware, versions."""
    return {"commit": commit(), "hardware": hardware(), "versions": machine.versions()}


def row(suite: str, figures: dict[str, Any], known: dict[str, Any] | None = None, **about: Any) -> dict[str, Any]:
    """A row of `suite`; `about` says what it was measured on (recipe, shards, batch size ...). known: what `here` gave,
    where it was asked already"""
    when = {"when": datetime.now(UTC).isoformat(timespec="seconds")}
    return {"suite": suite, **when, **(known or here()), **about, "figures": figures}


def prepare(path: Path) -> None:
    """Raise OSError where rows can't be added to this file: before they are measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("a").close()


def append(path: Path, new: dict[str, Any]) -> None:
    """Add a row to a file of rows, made where it is absent; it is on the disk afterwards. Behind a line that was cut by
    the end of whoever wrote it a new one is begun."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        line = json.dumps(new).encode() + b"\n"
        file.write(line if file.read(1) in (b"", b"\n") else b"\n" + line)
        file.flush()
        os.fsync(file.fileno())


def measured(path: Path, named: str, *parts: str) -> list[dict[str, Any]]:
    """The rows of a file that have figures, and those of `parts`. Raises DavidError, with what `named` it, where it has
    none, or a figure of no number."""
    if not path.is_file():
        raise DavidError(f"{named}: no such file; expected one of rows that `david bench` kept")
    needed = ("figures", *parts)
    found = [row for row in read(path) if "suite" in row and all(isinstance(row.get(one), dict) for one in needed)]
    if not found:
        raise DavidError(f"{named}: no rows there; expected a file of rows that `david bench` kept")
    for row in found:
        for name, value in _no_numbers(row["figures"]):
            raise DavidError(f"{named}: a row of {row['suite']} has {value!r} as {name}; expected a number")
    return found


def _no_numbers(figures: dict[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Where among figures something else stands for one."""
    for name, value in figures.items():
        here = f"{place} {name}".strip()
        if isinstance(value, dict):
            yield from _no_numbers(value, here)
        elif name in SPREAD and not isinstance(value, int | float):
            yield here, value


def read(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, none where it is absent. A line that was cut, which no row follows on, is left out."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(ValueError):
            if isinstance(one := json.loads(line), dict):
                found.append(one)
    return found
