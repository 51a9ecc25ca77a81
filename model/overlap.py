"""Reading ahead, a network in between, and writing behind it, all at the same time and in order.

Threads read; this thread asks the network, batch after batch; threads write. Which things make a batch depends on them
alone, never on a clock.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import cv2

AHEAD = 3  # things a thread, that are begun before they are needed


class Sized(Protocol):
    """What was read. bytes: that it takes up"""

    @property
    def bytes(self) -> int: ...


Thing = TypeVar("Thing")
Answer = TypeVar("Answer")
Outcome = TypeVar("Outcome")
Read = TypeVar("Read", bound=Sized)


class Closed(Exception):
    """The work ends; whoever waits for room is sent home."""


class Room:
    """Bytes that are taken up by several threads. What is taken in turns is given in the order of the turns; a picture
    passes where it fits, and however large it is, where at most half of the room is taken."""

    def __init__(self, size: int):
        self._size, self._used, self._turn, self._open = size, 0, 0, True
        self._changed = threading.Condition()

    def take(self, size: int, turn: int | None = None) -> None:
        """Wait for room. Raises Closed where the work ends meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or (turn in (None, self._turn) and self._fits(size)))
            if not self._open:
                raise Closed
            self._used += size
            self._turn += turn is not None
            self._changed.notify_all()

    def give(self, size: int) -> None:
        with self._changed:
            self._used -= size
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        return self._used + size <= self._size or self._used <= self._size // 2


def overlapped(
    things: Iterable[Thing],
    read: Callable[[Thing, int], Read],
    ask: Callable[[list[Read]], list[Answer]],
    write: Callable[[Read, Answer], Outcome],
    *,
    batch_size: int,
    threads: int,
    most_bytes: int,
    rooms: Iterable[Room],
    apart: Callable[[Read, Read], bool] = lambda before, now: False,
) -> Generator[Outcome, None, None]:
    """What `write` gave of each thing, in order.

    read: a thing and its number, in a thread; ask: what was read of a batch, for an answer to each, in this thread;
    write: what was read and the answer, in a thread; most_bytes: of a batch, but for the last thing in it; rooms: are
    closed at the end, so that no thread waits in one; apart: whether what was read of two things, one behind the other,
    must not be in one batch. Closing the iterator ends the work: what is being written is finished, nothing else is
    begun."""
    coming: deque[Future[Read]] = deque()
    going: deque[Future[Outcome]] = deque()
    rest = enumerate(things)
    with _one_thread_each(), _pool(threads) as readers, _pool(threads) as writers:

        def look_ahead() -> None:
            while len(coming) < AHEAD * threads + batch_size and (one := next(rest, None)) is not None:
                coming.append(readers.submit(read, one[1], one[0]))

        try:
            look_ahead()
            while coming:
                batch: list[Read] = []
                while coming and len(batch) < batch_size and sum(one.bytes for one in batch) < most_bytes:
                    if batch and apart(batch[-1], coming[0].result()):
                        break
                    batch.append(coming.popleft().result())
                    look_ahead()
                answers = ask(batch)
                while batch:
                    going.append(writers.submit(write, batch.pop(0), answers.pop(0)))
                while going and (going[0].done() or len(going) > AHEAD * threads + batch_size):
                    yield going.popleft().result()
            while going:
                yield going.popleft().result()
        finally:
            for room in rooms:
                room.close()


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(threads, "david-predict")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Meanwhile OpenCV works in the thread that calls it: there is one for each core already."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
