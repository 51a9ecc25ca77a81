"""Which files can be weights at all, told by their names and without torch; whoever reads one asks here first."""

from pathlib import Path

from david.pack.errors import DavidError

PICKLED = (".pth", ".pt")  # of a network: the unofficial implementation's, see `pickled.py`
NETWORK = (".safetensors", *PICKLED)
BACKBONE = (".safetensors", ".npz", ".pth", ".pt", ".bin")


def as_network(path: Path) -> None:
    """Raise DavidError where a file's name is not that of a network's weights, or there is no file."""
    _check(path, "a network's weights", NETWORK)


def is_pickled(path: Path) -> bool:
    """Whether a file's name is that of a network's weights as torch pickles them."""
    return path.suffix.lower() in PICKLED


def as_backbone(path: Path) -> None:
    """Raise DavidError where a file's name is not that of a backbone's weights, or there is no file."""
    _check(path, "backbone weights", BACKBONE)


def _check(path: Path, what: str, endings: tuple[str, ...]) -> None:
    if path.suffix.lower() not in endings:
        raise DavidError(f"{path}: expected {what} ending in {', '.join(endings)}, found {path.suffix!r}")
    if not path.is_file():
        raise DavidError(f"{path}: no such file; expected {what}")
