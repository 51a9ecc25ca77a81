"""A video or a camera through a network: one video of what it says, and files of its frames where they are asked for.

A thread decodes and prepares frames ahead, this one asks the network and steadies what it says, threads draw, and this
one encodes in order; what waits between them is bounded. `STEM_video.mp4` has the times of the frames and the sound of
the video beside them; other kinds of `outputs.KINDS` become `STEM_frames/NNNNNN_KIND.ENDING`, numbered from 0.

H rows, W columns.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from david.model.predict import drawing, outputs, video, webcam
from david.model.predict.fields import METRIC, depth_of
from david.model.predict.inputs import WEBCAM, Input
from david.model.predict.outputs import Shot
from david.model.predict.record import Outcome
from david.model.predict.runner import RESTORED_A_PIXEL, RESTORED_BYTES
from david.model.predict.steady import Reference, Steady, reference
from david.model.predict.video import Clip, Frame
from david.model.predict.webcam import Webcam
from david.pack import files
from david.pack.errors import DavidError

if TYPE_CHECKING:
    from david.model.predict.fit import Prepared
    from david.model.predict.runner import Job

SHOWN = "_video.mp4"
FRAMES = "_frames"
LONGEST = 4096  # pixels of a side of the video: what decoders in hardware play
LOOKED_AT = 16  # frames all over a video, for its scale and range
AHEAD = 2  # frames a thread, decoded or drawn, that wait at most
Tell = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Filming:
    """steady: see `steady.py`; most: frames that are taken of a video, or None for all
    stopped: asked after each frame: of a file that ends the work, and nothing is kept; a camera's is done then"""

    steady: bool = False
    most: int | None = None
    stopped: Callable[[], bool] = lambda: False


class Unfinished(Exception):
    """A video was stopped before its end; nothing is left of it but files of single frames."""


def predict(job: "Job", one: Input, filming: Filming, tell: Tell) -> Outcome:
    """One video or camera, its files whole. An outcome with an error where it is none or breaks off; raises Unfinished
    where the work was stopped. tell: called with (frames done, frames in all or None)"""
    try:
        return _predicted(job, one, filming, tell)
    except DavidError as error:
        named = str(error).startswith((one.name, str(one.path)))
        return Outcome(one, error=str(error) if named else f"{one.name}: {error}")


def _opened(one: Input) -> AbstractContextManager["Clip | Webcam"]:
    return webcam.opened(webcam.number(one.name) or 0) if one.kind == WEBCAM else video.opened(one.path)


def _predicted(job: "Job", one: Input, filming: Filming, tell: Tell) -> Outcome:
    live = one.kind == WEBCAM
    steady = Steady(None if live else _first_look(job, one, filming)) if filming.steady else None
    written = _Written(job, one)
    with ExitStack() as stack:
        clip = stack.enter_context(_opened(one))
        total = min((n for n in (filming.most, _frames(clip)) if n), default=None)
        threads = max(1, min(job.threads, RESTORED_BYTES // (RESTORED_A_PIXEL * (clip.pixels or 1))))
        frames = stack.enter_context(_ahead(_prepared(job, clip, filming.most), 1 if live else AHEAD * threads))
        pool = stack.enter_context(ThreadPoolExecutor(threads, "david-draw"))
        drawn: deque[Future[_Drawn]] = deque()
        show = None

        def encode(most: int) -> None:
            nonlocal show
            while len(drawn) > most:
                ready = drawn.popleft().result()
                written.add(ready)
                if ready.sheet is not None:
                    if show is None:
                        path, sound = job.out / (one.stem + SHOWN), None if live else one.path
                        files.make_folder(path.parent)
                        shape = (ready.sheet.shape[0], ready.sheet.shape[1])
                        show = stack.enter_context(video.written(path, shape, clip.rate, clip.tick, sound))
                    show(ready.sheet, ready.time)
                tell(written.count, total)

        try:
            while batch := list(islice(frames, 1 if live else job.batch_size)):
                said = job.predictor.infer([prepared for _, prepared in batch])
                for (frame, prepared), fields in zip(batch, said, strict=True):
                    if steady is not None:
                        fields = steady(prepared.seen, fields, float(frame.time * clip.tick))
                    scale = steady.reference if steady is not None else None
                    number = written.begun
                    written.begun += 1
                    drawn.append(pool.submit(_draw, job, one, number, frame, prepared, fields, scale))
                    encode(AHEAD * threads)
                if filming.stopped():
                    if live:
                        break
                    raise Unfinished
            encode(0)
        finally:
            for future in drawn:
                future.cancel()
    written.note(job.out / (one.stem + SHOWN))
    about = {"frames": written.count, "rate": round(float(clip.rate), 4)}
    if steady is not None and steady.reference is not None:
        metric = depth_of(job.predictor.fields) == METRIC
        low, high = steady.reference.low, steady.reference.high
        about |= {"depth_range_m": [low, high]} if metric else {"depth_range": list(_reach(steady.reference))}
    return Outcome(one, written.files, {"size": written.size, "fields": list(job.predictor.fields)} | about)


def _frames(clip: "Clip | Webcam") -> int | None:
    """How many there are, as far as the file tells."""
    return clip.frames or (round(clip.length_s * clip.rate) if clip.length_s else None)


def _prepared(job: "Job", clip: "Clip | Webcam", most: int | None) -> Iterator[tuple[Frame, "Prepared"]]:
    for frame in islice(clip, most):
        yield frame, job.predictor.prepare(frame.rgb)


def _first_look(job: "Job", one: Input, filming: Filming) -> Reference | None:
    """The sequence's scale and range by frames all over it. Raises Unfinished where the work was stopped."""
    with video.opened(one.path) as clip:
        if not clip.length_s:
            return None
        length_s = min(clip.length_s, float(filming.most / clip.rate) if filming.most else clip.length_s)
        said, looked_at = {}, []
        for frame in clip.near([(place + 0.5) / LOOKED_AT * length_s for place in range(LOOKED_AT)]):
            if filming.stopped():
                raise Unfinished
            if frame.time not in said:  # of several times, where few frames can be decoded without others
                said[frame.time] = job.predictor.infer([job.predictor.prepare(frame.rgb)])[0]
            looked_at.append(said[frame.time])
    return reference(looked_at)


@contextmanager
def _ahead(items: Iterator[Any], most: int) -> Iterator[Iterator[Any]]:
    """The same items, made by a thread up to `most` before they are asked for. Its errors are raised here."""
    queue: Queue[tuple[Any, BaseException | None]] = Queue(most)
    over, ended = Event(), object()

    def put(item: Any, error: BaseException | None = None) -> bool:
        while not over.is_set():
            try:
                queue.put((item, error), timeout=0.1)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(ended)
        except BaseException as error:  # whatever it is, it belongs to whoever asks
            put(ended, error)

    def given() -> Iterator[Any]:
        while True:
            item, error = queue.get()
            if error is not None:
                raise error
            if item is ended:
                return
            yield item

    thread = Thread(target=work, name="david-decode", daemon=True)
    thread.start()
    try:
        yield given()
    finally:
        over.set()
        while thread.is_alive():
            try:
                queue.get_nowait()
            except Empty:
                thread.join(0.05)


@dataclass(frozen=True)
class _Drawn:
    """A frame that is finished. sheet: of the video, (H, W, 3) uint8, or None where none is asked for
    files: of this frame, below the folder of outputs, and their sizes"""

    time: int
    size: tuple[int, int]
    sheet: np.ndarray | None
    files: dict[str, int]


@dataclass
class _Written:
    """What there is of a video so far."""

    job: "Job"
    one: Input
    begun: int = 0
    count: int = 0
    size: list[int] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)

    def add(self, drawn: _Drawn) -> None:
        self.count += 1
        self.size = self.size or list(drawn.size)
        self.files |= drawn.files

    def note(self, path: Path) -> None:
        if "picture" in self.job.saves:
            self.files = {self.one.stem + SHOWN: path.stat().st_size} | self.files


def _draw(
    job: "Job", one: Input, number: int, frame: Frame, prepared: "Prepared", said: Any, scale: Reference | None
) -> _Drawn:
    """What is shown and written of a frame."""
    wanted = outputs.needed(job.saves, job.predictor.fields)
    fields = prepared.restored({name: said[name] for name in wanted})
    for name in wanted:
        if not np.isfinite(fields[name]).all():
            raise DavidError(f"frame {number}: the network says {name} that is not finite; compute in fp32")
    span = (scale.low, scale.high) if scale is not None else None
    shot = Shot(frame.rgb, fields, job.look, span, _reach(scale) if scale is not None else None)
    sheet, made = None, {}
    for kind in job.saves:
        if kind == "picture":
            sheet = _fitting(drawing.side_by_side(frame.rgb, fields, span))
            continue
        name = f"{one.stem}{FRAMES}/{number:06d}{outputs.KINDS[kind].ending}"
        data = outputs.KINDS[kind].write(shot)
        files.make_folder((job.out / name).parent)
        files.write_whole(job.out / name, data, tidy=False)
        made[name] = len(data)
    return _Drawn(frame.time, (frame.rgb.shape[0], frame.rgb.shape[1]), sheet, made)


def _reach(scale: Reference) -> tuple[float, float]:
    """What a 16-bit PNG of depth spans over a whole sequence: its range, and as much again at both ends."""
    wide = scale.high - scale.low
    return scale.low - wide, scale.high + wide


def _fitting(sheet: np.ndarray) -> np.ndarray:
    """No side longer than players can show."""
    shrink = LONGEST / max(sheet.shape)
    if shrink >= 1:
        return sheet
    height, width = (max(2, round(side * shrink)) for side in sheet.shape[:2])
    return cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA)
