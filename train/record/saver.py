"""Checkpoints written on a thread while training goes on, one at a time and in their order.

The loop copies what is to be kept and goes on; the thread writes, hashes, names and prunes. A kill meanwhile leaves
what a kill in writing always left: the checkpoints of before, whole.
"""

import threading
from collections.abc import Callable
from types import TracebackType

from david.pipeline import trace


class Saver:
    """What is begun before it is left is written before it is left, unless somebody is in a hurry."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "Saver":
        return self

    def begin(self, write: Callable[[], object]) -> None:
        """Let the thread write; first wait for what it writes. Raises what that has come to, as `check`."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="david-checkpoint", daemon=True)
        self._thread.start()

    def _run(self, write: Callable[[], object]) -> None:
        try:
            with trace.span("write"):
                write()
        except BaseException as error:
            self._error = error

    def check(self) -> None:
        """Raise, once, what writing has failed with, such as the OSError of a full disk; waits for nothing."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait(self) -> None:
        """Return once all is on the disk. Raises as `check`."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.wait()
        elif issubclass(kind, Exception) and self._thread is not None:
            self._thread.join()  # what went wrong first is what is told
