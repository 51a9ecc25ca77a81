"""Which files can be networks at all, told by name and first bytes, without torch; whoever reads one asks here."""

from pathlib import Path

from david.pack.errors import DavidError
from david.pack.fetch import onnxcheck

PICKLED = (".pth", ".pt")  # of a network: the unofficial implementation's, see `pickled.py`
NETWORK = (".safetensors", *PICKLED)
BACKBONE = (".safetensors", ".npz", ".pth", ".pt", ".bin")
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # torch's files are zips now, and were bare pickles
BEGINS = {".npz": (_ZIP,), **dict.fromkeys((".pth", ".pt", ".bin"), (_ZIP, _PICKLE))}  # `label.py` reads the others


def as_network(path: Path) -> None:
    """Raise DavidError where a file's name is not that of a network's weights, there is no file, or another
    kind of file."""
    _check(path, "a network's weights", NETWORK)


def is_pickled(path: Path) -> bool:
    """Whether a file's name is that of a network's weights as torch pickles them."""
    return path.suffix.lower() in PICKLED


def as_backbone(path: Path) -> None:
    """Raise DavidError where a file's name is not that of a backbone's weights, there is no file, or another
    kind of file."""
    _check(path, "backbone weights", BACKBONE)


def as_onnx(path: Path) -> None:
    """Raise DavidError where a file is no ONNX file, or is cut short, or there is none."""
    if not path.is_file():
        raise DavidError(f"{path}: no such file; expected an ONNX file")
    if onnxcheck.damage(path, lambda _: None):
        raise DavidError(f"{path}: no ONNX file, or not a whole one; expected what `david export` writes")


def _check(path: Path, what: str, endings: tuple[str, ...]) -> None:
    if path.suffix.lower() not in endings:
        raise DavidError(f"{path}: expected {what} ending in {', '.join(endings)}, found {path.suffix!r}")
    if not path.is_file():
        raise DavidError(f"{path}: no such file; expected {what}")
    begins = BEGINS.get(path.suffix.lower())
    with path.open("rb") as file:
        found = file.read(16)
    if begins and not found.startswith(begins):
        raise DavidError(f"{path}: expected {what}, found a file that begins with {found!r}")
