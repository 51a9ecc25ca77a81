"""Many pictures: decoding, the network and writing at the same time, results in the order of the inputs.

    for outcome in runner.run(job, inputs): ...

Threads read, decode and prepare pictures ahead; this thread asks the network, batch after batch; threads bring what it
says back to each picture's size, encode and write it. What is in flight is bounded by its bytes, so the memory that is
used depends on the size of pictures, and not on their number. A picture that can't be read or decoded is an outcome
with an error, and the rest goes on; only what would meet every picture (a full disk) ends the run.

Which pictures make a batch depends on the inputs and their sizes alone, never on a clock.
"""

import errno
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from david.model.overlap import Room, overlapped
from david.model.predict import outputs, pictures
from david.model.predict.inputs import Input
from david.model.predict.outputs import Look, Shot
from david.model.predict.record import Outcome
from david.pack import files, machine
from david.pack.errors import BadSample, DavidError

if TYPE_CHECKING:
    from david.model.predict.fit import Prepared
    from david.model.predict.predictor import Predictor

DECODED_BYTES = 384 << 20  # of pictures that are decoded and not yet predicted
RESTORED_BYTES = 2 << 30  # of pictures that are being brought back and written
RESTORED_A_PIXEL = 64  # bytes, of five planes of float32 and what is drawn of them
NO_MEMORY = -4  # cv2.error's code, Error::StsNoMem


@dataclass(frozen=True)
class Job:
    """What is done with each picture. out: the folder of outputs; saves: kinds of `outputs.KINDS`; look: how they are
    shown; batch_size: pictures that the network gets at once; threads: that decode, and as many that write"""

    predictor: "Predictor"
    out: Path
    saves: tuple[str, ...] = outputs.DEFAULT
    look: Look = field(default_factory=Look)
    batch_size: int = 1
    threads: int = field(default_factory=machine.cores)


@dataclass(frozen=True)
class _Ready:
    """A picture before the network: itself, and as the network sees it; or why there is none."""

    input: Input
    rgb: np.ndarray | None = None
    prepared: "Prepared | None" = None
    error: str | None = None

    @property
    def bytes(self) -> int:
        return 0 if self.rgb is None else self.rgb.nbytes


def run(job: Job, inputs: Iterable[Input]) -> Generator[Outcome, None, None]:
    """Predict each input and write its files; gives an outcome for each, in order, once its files are there.

    Closing the iterator ends the work: what is being written is finished, nothing else is begun."""
    decoded, restored = Room(DECODED_BYTES), Room(RESTORED_BYTES)

    def ask(batch: list[_Ready]) -> "list[dict[str, np.ndarray] | None]":
        said = iter(job.predictor.infer([one.prepared for one in batch if one.prepared]))
        return [next(said) if one.prepared else None for one in batch]

    yield from overlapped(
        inputs,
        lambda one, turn: _read(job, one, decoded, turn),
        ask,
        lambda one, said: _write(job, one, said, decoded, restored),
        batch_size=job.batch_size,
        threads=job.threads,
        most_bytes=DECODED_BYTES // 2,
        rooms=(decoded, restored),
    )


def _read(job: Job, one: Input, room: Room, turn: int) -> _Ready:
    """A picture decoded and prepared, once there is room for it."""
    taken: list[int] = []

    def sized(height: int, width: int) -> None:
        room.take(height * width * 3, turn)
        taken.append(height * width * 3)

    try:
        data = pictures.contents(one.path)
        rgb = pictures.decode(one.name, data, sized=sized)
        return _Ready(one, rgb, job.predictor.prepare(rgb))
    except (DavidError, MemoryError, cv2.error) as error:
        if not taken:
            room.take(0, turn)
        room.give(sum(taken))
        return _Ready(one, error=_reason(one, error))


def _write(job: Job, one: _Ready, said: "dict[str, np.ndarray] | None", decoded: Room, restored: Room) -> Outcome:
    """What the network said of a picture, at its size, as files."""
    if one.rgb is None or one.prepared is None or said is None:
        return Outcome(one.input, error=one.error)
    need = RESTORED_A_PIXEL * one.rgb.shape[0] * one.rgb.shape[1]
    restored.take(need)
    try:
        wanted = outputs.needed(job.saves, job.predictor.fields)
        for name in wanted:
            if not np.isfinite(said[name]).all():
                raise DavidError(f"{one.input.name}: the network says {name} that is not finite; compute in fp32")
        shot = Shot(one.rgb, one.prepared.restored({name: said[name] for name in wanted}), job.look)
        written = {}
        for name in job.saves:
            kind = outputs.KINDS[name]
            path = job.out / (one.input.stem + kind.ending)
            data = kind.write(shot)
            files.make_folder(path.parent)
            files.write_whole(path, data, tidy=False)
            written[one.input.stem + kind.ending] = len(data)
        return Outcome(one.input, written, outputs.facts(shot))
    except (DavidError, MemoryError, cv2.error) as error:
        return Outcome(one.input, error=_reason(one.input, error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return Outcome(one.input, error=f"{one.input.name}: its name is too long for the names of its files")
    finally:
        restored.give(need)
        decoded.give(one.bytes)


def _reason(one: Input, error: Exception) -> str:
    """One sentence that names the input."""
    if isinstance(error, BadSample) or str(error).startswith(one.name):
        return str(error)
    if isinstance(error, DavidError):
        return f"{one.name}: {error}"
    if isinstance(error, cv2.error) and error.code != NO_MEMORY:
        raise error
    return f"{one.name}: not enough memory for it here"
