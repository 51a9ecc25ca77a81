"""Signals while pictures are predicted or a file is made: nothing half-made is left, and the same command goes on."""

import os
import signal
from types import FrameType

from david.train.signals import EXIT_STOPPED, Handlers


class BetweenInputs(Handlers):
    """While it is entered, SIGTERM and SIGUSR1 end the process with EXIT_STOPPED: before `begun` at once, since nothing
    is lost and a library that is being imported could make another error of an exception; then `requested` is set."""

    numbers = (signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.begun, self.requested = False, ""

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.requested = signal.Signals(number).name
        if not self.begun:
            os.write(2, f"stopped by {self.requested} before the first input; the same command goes on\n".encode())
            os._exit(EXIT_STOPPED)


class Terminated(Handlers):
    """While it is entered, SIGTERM ends the process as Ctrl-C does, so that what is unfinished is taken away first."""

    numbers = (signal.SIGTERM,)

    def _take(self, number: int, frame: FrameType | None) -> None:
        os.write(2, b"stopped by SIGTERM; nothing is left\n")
        raise SystemExit(128 + number)
