"""One thing ahead: while one is used, a thread makes the next."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(things: Iterator[T]) -> Iterator[T]:
    """The same things in the same order; never more than two are there at once, the one in use and the next. What is
    raised while one is made is raised where it would have come."""
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, things, _END)
        while (thing := coming.result()) is not _END:
            coming = thread.submit(next, things, _END)
            yield thing  # type: ignore[misc]
            del thing
