"""The checkpoints that stand in a run's folder: which steps, and which of them are whole. Without torch.

What is in one, and how it comes to be there, is told in `checkpoint.py`.
"""

import re
from pathlib import Path

from david.pack.errors import DavidError
from david.pack.files import sha256

MODEL, OPTIMISER, STATE, SUMS = "model.safetensors", "optimiser.safetensors", "state.json", "SHA256SUMS"
AVERAGE = "average.safetensors"  # the whole state again, of a recipe that averages its weights
NAME = re.compile(r"step-(\d{8,})")


def path_of(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints that stand in `folder`, newest first, whole or damaged: folders named as such."""
    found = ((NAME.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return sorted((int(match[1]) for match, path in found if match and path.is_dir()), reverse=True)


def strangers(folder: Path) -> list[Path]:
    """What is called as a checkpoint and is none: other names, files, links to nowhere."""
    return sorted(p for p in folder.glob("step-*") if not (NAME.fullmatch(p.name) and p.is_dir()))


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every byte is as it was written."""
    try:
        lines = (checkpoint / SUMS).read_text().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        if not {MODEL, OPTIMISER, STATE} <= set(sums):
            return f"{SUMS} does not name {MODEL}, {OPTIMISER} and {STATE}"
        for name, digest in sums.items():
            if sha256(checkpoint / name) != digest:
                return f"{name} is not what {SUMS} says"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def newest_whole(folder: Path) -> tuple[int, list[str]]:
    """The newest undamaged checkpoint's step (0: start at the beginning), and a sentence for each damaged one and for
    whatever else has such a name.

    Raises DavidError where there are checkpoints and none is whole.
    """
    damaged, odd = [], [f"{path} is no checkpoint and is left out" for path in strangers(folder)]
    for step in steps(folder):
        fault = damage(path_of(folder, step))
        if fault is None:
            return step, odd + damaged
        damaged.append(f"{path_of(folder, step)} is damaged and is left out: {fault}")
    if damaged:
        raise DavidError(f"{folder}: no whole checkpoint among {len(damaged)} ({damaged[0]}); use another --out folder")
    return 0, odd


def weights_of(checkpoint: Path) -> Path:
    """The file of the weights to measure and to predict with: their moving average where the run keeps one."""
    average = checkpoint / AVERAGE
    return average if average.is_file() else checkpoint / MODEL
