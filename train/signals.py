"""Signals that ask a run to stop: it finishes its step, saves, and leaves."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_STOPPED = 75  # sysexits' EX_TEMPFAIL: nothing is wrong, the same command goes on


class Stopped(Exception):
    """A signal stopped the run after it saved; the command line leaves with EXIT_STOPPED."""


class StopSignals:
    """While it is entered, SIGINT, SIGTERM and SIGUSR1 only set `requested`."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
