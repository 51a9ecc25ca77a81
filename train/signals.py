"""Signals that ask a run to stop: it finishes its step, saves, and leaves. And those that it passes on to its ranks."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import resource_tracker
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_STOPPED = 75  # sysexits' EX_TEMPFAIL: nothing is wrong, the same command goes on
PATIENCE_S = 120.0  # that a rank may give no sign of life before the others end, see `pulse.py`
HINT = b"\nsaving after this step; Ctrl-C again leaves at once\n"


class Stopped(Exception):
    """A signal stopped the run after it saved; the command line leaves with EXIT_STOPPED."""


def start_tracker(begin: Callable[[], None] = resource_tracker.ensure_running) -> None:
    """Start the process by which Python cleans up what processes share, deaf to SIGUSR1 as it is to Ctrl-C: a signal to
    a whole group, as Slurm sends it, would end it, and those that it serves would each say so with a traceback.

    It inherits what is blocked while it starts; what comes meanwhile is taken afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        begin()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Handlers:
    """While it is entered, the signals `numbers` come to `_take`."""

    numbers: tuple[signal.Signals, ...] = SIGNALS

    def __enter__(self):
        self._before = {number: signal.signal(number, self._take) for number in self.numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        raise NotImplementedError


class BetweenSteps(Handlers):
    """While it is entered, SIGTERM and SIGUSR1 end the process with EXIT_STOPPED, for as long as a command has not yet
    begun to train, or has ended.

    At once: a library that is being imported could make another error of an exception, and nothing is lost."""

    numbers = (signal.SIGTERM, signal.SIGUSR1)

    def _take(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        os.write(2, f"stopped by {name} with no step begun; the same command goes on\n".encode())
        os._exit(EXIT_STOPPED)


class StopSignals(Handlers):
    """While it is entered, SIGINT, SIGTERM and SIGUSR1 only set `requested`.

    alone: whether no launcher stands between the process and the terminal: a second Ctrl-C then leaves at once, and
    the first says so, where it `speaks`. A launcher passes on what a rank may have heard already, so there a second one
    says nothing new.
    """

    def __init__(self, alone: bool = False, speaks: bool = True):
        self.requested, self._alone, self._speaks = False, alone, speaks

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._alone:
            if self.requested:
                raise KeyboardInterrupt
            if self._speaks:
                os.write(2, HINT)  # print would fail where the signal came in the middle of one
        self.requested = True


class Passing(Handlers):
    """While it is entered, each of SIGNALS asks the processes that this one has started to stop; it waits for them.

    They get SIGTERM, whatever came. A second SIGINT ends them at once."""

    def __init__(self) -> None:
        self.came: list[signal.Signals] = []

    def _take(self, number: int, frame: FrameType | None) -> None:
        hasty = number == signal.SIGINT and signal.SIGINT in self.came
        if number == signal.SIGINT and not hasty:
            os.write(2, HINT)
        self.came.append(signal.Signals(number))
        for process in multiprocessing.active_children():
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL if hasty else signal.SIGTERM)
