"""Is this ONNX file whole? Its protobuf is walked from message to message, to the last byte of the file.

Cut, empty or other files are found, and pages that a proxy sends instead of a file. Weights have no checksum in ONNX:
that each arrived as it was sent is what TLS says, and that it is the same file again what a lock's SHA-256 says.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from david.pack.raw.zipcheck import Watch

VARINT, BYTES = 0, 2  # wire types of protobuf's encoding, section "Message Structure"
MODEL: dict[int, int] = {1: VARINT, 5: VARINT} | dict.fromkeys(
    (2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES
)  # fields of onnx.ModelProto
GRAPH: dict[int, int] = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), BYTES)  # of onnx.GraphProto
IR_VERSION, THE_GRAPH = 1, 7  # of a model
NODE, OUTPUT = 1, 12  # of a graph
LONGEST_VARINT = 10


def damage(path: Path, watch: Watch) -> list[tuple[int, int]]:
    """All of the file as one byte range (start, stop) where it is no whole ONNX file, none where it is one.

    watch: called with the bytes looked at so far; what it raises ends the check."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            model = dict(_fields(file, 0, size, MODEL, lambda _: None))
            graph = {number for number, _ in _fields(file, *model[THE_GRAPH], GRAPH, watch)}
            return [] if IR_VERSION in model and {NODE, OUTPUT} <= graph else [(0, size)]
        except (ValueError, KeyError):
            return [(0, size)]


def _fields(
    file: BinaryIO, at: int, stop: int, known: dict[int, int], watch: Callable[[int], None]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """The fields of the message in bytes at .. stop: number, and where its content is. Raises ValueError where it is no
    message of `known` fields that ends there."""
    while at < stop:
        watch(at)
        key, at = _varint(file, at, stop)
        number, kind = key >> 3, key & 7
        if known.get(number) != kind:
            raise ValueError(f"field {number} of type {kind}")
        length, at = _varint(file, at, stop)
        start, at = at, at + (length if kind == BYTES else 0)
        if at > stop:
            raise ValueError("longer than what it is in")
        yield number, (start, at)


def _varint(file: BinaryIO, at: int, stop: int) -> tuple[int, int]:
    """The number that begins at `at`, and where it ends."""
    file.seek(at)
    value = 0
    for place, byte in enumerate(file.read(min(LONGEST_VARINT, stop - at))):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError("a number without an end")
