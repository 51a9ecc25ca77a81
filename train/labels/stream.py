"""A teacher's depth of samples, one shard behind another: reading, the network and coding at the same time, in order.

A batch lies within one shard and begins with its first sample, so that a shard's bytes depend on nothing else.

H rows, W columns of a sample, h, w of what the network sees.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from david.model.overlap import Room, overlapped
from david.model.predict.fields import DISPARITY
from david.model.predict.fit import Prepared
from david.model.predict.predictor import Predictor
from david.model.predict.runner import DECODED_BYTES, RESTORED_BYTES
from david.pack import machine
from david.pack.errors import BadSample, DavidError
from david.pack.shards import sidecar
from david.pack.shards.manifest import Shard
from david.pack.shards.schema import Compression
from david.pipeline.engines import images
from david.pipeline.reading.reader import Reader

RELATIVE = "relative_depth"
SAID = (DISPARITY, RELATIVE)  # what a teacher may say of depth; of both the first is taken
RESTORED_A_PIXEL = 24  # bytes, of two planes of float32 and what is coded of them


@dataclass(frozen=True)
class Teaching:
    """predictor, says: the teacher, and which of its fields is taken; batch_size: samples that it gets at once
    compression: of the planes; threads: that read, and as many that write"""

    predictor: Predictor
    says: str
    batch_size: int
    compression: Compression
    threads: int = field(default_factory=machine.cores)


class Todo(NamedTuple):
    """A shard to write labels of. reader: of its split; start: the position of its first sample there; listed: the
    shard of the set"""

    reader: Reader
    start: int
    listed: Shard


class _Place(NamedTuple):
    todo: Todo
    position: int


@dataclass(frozen=True)
class _Ready:
    """A sample before the network."""

    todo: Todo
    where: str
    key: str
    prepared: Prepared

    @property
    def bytes(self) -> int:
        return 3 * self.prepared.shape[0] * self.prepared.shape[1]


def said_by(predictor: Predictor) -> str:
    """Which of its fields is a teacher's depth. Raises DavidError where it says none."""
    found = next((name for name in SAID if name in predictor.fields), None)
    if found is None:
        raise DavidError(
            f"{predictor.name}: says {', '.join(predictor.fields)}; a teacher of depth says {' or '.join(SAID)}"
        )
    return found


def labelled(teaching: Teaching, todos: list[Todo]) -> Generator[tuple[str, list[bytes]], None, None]:
    """(key, members) of every sample of these shards, in order; see `sidecar.encode`.

    Raises BadSample that names a sample that can't be read, or of which the network says nothing finite."""
    decoded, restored = Room(DECODED_BYTES), Room(RESTORED_BYTES)
    yield from overlapped(
        _places(todos),
        lambda place, turn: _read(teaching, place, decoded, turn),
        lambda batch: teaching.predictor.infer([one.prepared for one in batch]),
        lambda one, said: _write(teaching, one, said, decoded, restored),
        batch_size=teaching.batch_size,
        threads=teaching.threads,
        most_bytes=DECODED_BYTES // 2,
        rooms=(decoded, restored),
        apart=lambda before, now: before.todo is not now.todo,
    )


def _places(todos: list[Todo]) -> Iterator[_Place]:
    return (_Place(todo, todo.start + row) for todo in todos for row in range(todo.listed.samples))


def _read(teaching: Teaching, place: _Place, room: Room, turn: int) -> _Ready:
    """A sample's image, as the network sees it, once there is room for it."""
    encoded = place.todo.reader.read(place.position)
    rgb = np.empty((encoded.height, encoded.width, 3), np.uint8)
    room.take(rgb.nbytes, turn)
    try:
        images.decode(encoded.rgb, rgb)
        return _Ready(place.todo, encoded.where, encoded.key, teaching.predictor.prepare(rgb))
    except DavidError as error:
        raise BadSample(encoded.where, str(error)) from error


def _write(
    teaching: Teaching, one: _Ready, said: dict[str, np.ndarray], decoded: Room, restored: Room
) -> tuple[str, list[bytes]]:
    """What the network said of a sample, at its size, as members."""
    name, need = teaching.says, RESTORED_A_PIXEL * one.prepared.shape[0] * one.prepared.shape[1]
    restored.take(need)
    try:
        if not np.isfinite(said[name]).all():
            raise BadSample(one.where, f"the teacher says {name} that is not finite; compute in fp32 (--precision)")
        value = one.prepared.restored({name: said[name]})[name]
        nearness = -value if name == RELATIVE else value
        whole = np.ones(nearness.shape, bool)
        return one.key, sidecar.encode(one.key, nearness, whole, sidecar.TEACHER_DEPTH, teaching.compression)
    finally:
        restored.give(need)
        decoded.give(one.bytes)
