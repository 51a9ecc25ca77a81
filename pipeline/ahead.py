"""An iterator that runs in a thread of its own, a bounded number of items ahead of whoever takes them."""

import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

from david.pipeline import trace
from david.pipeline.stages import Stages

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """Takes from `items` until `depth` of them wait. What `items` raises, `next` raises in its place, and ever after.

    The thread holds nothing but `items`; it sleeps where the queue is full and ends with `close`, at the latest when
    the interpreter does. Its time asleep counts as the stage `hold`."""

    def __init__(self, items: Iterator[Item], depth: int, stages: Stages):
        self._ready: SimpleQueue[tuple[Item, None] | tuple[None, BaseException]] = SimpleQueue()
        self._slots = threading.Semaphore(depth)
        self._closing = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(items, stages), name="david-ahead", daemon=True)
        self._thread.start()

    def _run(self, items: Iterator[Item], stages: Stages) -> None:
        try:
            while True:
                with stages.time("hold"):
                    self._slots.acquire()
                if self._closing.is_set():
                    return
                self._ready.put((_made(items, stages), None))
        except BaseException as end:  # whatever ends this thread goes to the one that iterates and would wait for ever
            self._ready.put((None, end))

    def __next__(self) -> Item:
        if self._end is None:
            item, self._end = self._ready.get()
            if item is not None:
                self._slots.release()
                return item
        assert self._end is not None
        raise self._end

    def close(self) -> None:
        """End the thread; items that wait are dropped."""
        self._closing.set()
        self._slots.release()
        self._thread.join()
        self._end = RuntimeError("the loader is closed")


def _made(items: Iterator[Item], stages: Stages) -> Item:
    with trace.span("batch", stages):
        return next(items)
