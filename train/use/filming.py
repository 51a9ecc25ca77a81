"""Videos and cameras of `david predict`, one after the other, each with its own bar of frames."""

import signal
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import TYPE_CHECKING, Any

from david.model.predict.inputs import VIDEO, WEBCAM, Input
from david.pack.errors import shown
from david.train.signals import Handlers

if TYPE_CHECKING:
    from david.model.predict.record import Outcome
    from david.model.predict.runner import Job


class UntilInterrupted(Handlers):
    """While it is entered, Ctrl-C only sets `requested`: it is how a camera's film ends."""

    numbers = (signal.SIGINT,)

    def __init__(self) -> None:
        self.requested = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.requested = True


def films(one: Input) -> bool:
    """Whether an input has frames."""
    return one.kind in (VIDEO, WEBCAM)


def run(
    job: "Job",
    todo: list[Input],
    steady: bool,
    most: int | None,
    stop: Any,
    progress: Callable[[str, str], AbstractContextManager[Callable[[int, int | None], None]]],
) -> "Generator[Outcome, None, None]":
    """An outcome for each, in order. stop: whose `requested` is set where the work is to end; a video at which it does
    gives none, and begins again another time. progress: a bar, of what and its unit"""
    from david.model.predict import clips

    for one in todo:
        live = one.kind == WEBCAM
        with UntilInterrupted() if live else nullcontext() as until, progress(shown(one.name), "frames") as tell:

            def stopped(until: UntilInterrupted | None = until) -> bool:
                return bool(stop.requested) or (until is not None and until.requested)

            try:
                outcome = clips.predict(job, one, clips.Filming(steady, most, stopped), tell)
            except clips.Unfinished:
                return
        yield outcome
