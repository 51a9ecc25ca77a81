"""A claim is a row: what was measured, with the hardware, versions, recipe and commit that it holds for.

Rows are JSON objects, one a line. Those that the project's own claims rest on are kept in `bench/results/`.
"""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import david
from david.pack import machine

PACKAGES = ("david-train", "torch", "timm", "nvidia-dali-cuda130", "opencv-python-headless", "lz4", "numpy")


def hardware() -> dict[str, Any]:
    """Processor, cores that this process may use, memory in GB, and the GPU's name where there is one."""
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": machine.cores(),
        "memory_gb": round(memory / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": torch.cuda.device_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit that david runs from, with `+` where files differ from it; None outside a checkout."""
    root = Path(david.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def row(suite: str, figures: dict[str, Any], **about: Any) -> dict[str, Any]:
    """A row of `suite`; `about` says what it was measured on (recipe, shards, batch size ...)."""
    return {
        "suite": suite,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "hardware": hardware(),
        "versions": versions(),
        **about,
        "figures": figures,
    }


def prepare(path: Path) -> None:
    """Raise OSError where rows can't be added to this file: before they are measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.open("a").close()


def append(path: Path, new: dict[str, Any]) -> None:
    """Add a row to a file of rows, made where it is absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(new) + "\n")
