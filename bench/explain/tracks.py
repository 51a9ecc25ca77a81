"""A record sorted: what each thread did, one thing at a time, and what of it belongs to which batch.

Of spans within spans the innermost counts; some are told as one thing, whatever they are made of. A GPU is a thread of
its own, and so are its copies.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from david.pack.errors import DavidError
from david.pipeline.trace import Queued, Record, Span

WHOLE = ("log", "evaluation", "pictures", "checkpoint")  # told as one thing
SYNCHRONISE = "synchronise"  # but for the host's waits for a GPU in them
DEVICE, COPIES = -1, -2  # in the place of a thread's ident


class Piece(NamedTuple):
    """A part of a span in which its thread did nothing that lies within."""

    start_ns: int
    end_ns: int
    span: Span


@dataclass
class Tracks:
    """pieces: by thread, in their order; starts: the same, when each begins
    threads: ident -> name; trainer: the thread that trains; loader: the one that makes its batches ready; 0: none
    waits, holds, prepares, batches: of the training's loader, one a batch, in their order: the trainer's waits, the
        loader's for the trainer, for the threads that make samples, and all that it did for a batch
    samples: batch -> those who made its samples; submitted: batch -> when these were asked for
    images, shares: the trainer's waits for threads that compute images side by side, and what those did
    prefetch: batches that may wait for the trainer"""

    pieces: dict[int, list[Piece]]
    threads: dict[int, str]
    trainer: int
    prefetch: int
    loader: int = 0
    waits: list[Span] = field(default_factory=list)
    holds: list[Span] = field(default_factory=list)
    prepares: list[Span] = field(default_factory=list)
    batches: list[Span] = field(default_factory=list)
    samples: dict[int, list[Span]] = field(default_factory=dict)
    submitted: dict[int, int] = field(default_factory=dict)
    images: list[Span] = field(default_factory=list)
    shares: list[Span] = field(default_factory=list)
    starts: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.starts = {thread: [one.start_ns for one in pieces] for thread, pieces in self.pieces.items()}

    def before(self, thread: int, at_ns: int) -> int:
        """The number of a thread's last piece that began before that time; -1 for none."""
        return bisect_left(self.starts.get(thread, []), at_ns) - 1

    def busy(self, thread: int, at_ns: int) -> bool:
        """Whether a thread was at work just before that time."""
        place = self.before(thread, at_ns)
        return place >= 0 and self.pieces[thread][place].end_ns >= at_ns

    def began(self, name: str) -> list[int]:
        """When the trainer began with something, each time."""
        found = {one.span.start_ns for one in self.pieces[self.trainer] if one.span.name == name}
        return sorted(found)

    def beside(self) -> Iterable[tuple[Span, list[Span]]]:
        """Where the trainer had images computed side by side: its wait for them, and the threads' shares."""
        shares = sorted(self.shares, key=lambda one: one.start_ns)
        starts = [one.start_ns for one in shares]
        for images in self.images:
            own = shares[bisect_left(starts, images.start_ns) : bisect_left(starts, images.end_ns)]
            if own:
                yield images, own

    def steps(self) -> list[int]:
        """When each step begins, with its wait for a batch, and when the last ends."""
        last = max(one.end_ns for one in self.pieces[self.trainer] if one.span.name != "wait")
        return [one.start_ns for one in self.waits] + [last]

    def overlapping(self, thread: int, start_ns: int, end_ns: int) -> Iterable[Piece]:
        """A thread's pieces in a time, cut to it."""
        pieces = self.pieces.get(thread, [])
        for piece in pieces[max(0, self.before(thread, start_ns + 1)) :]:
            if piece.start_ns >= end_ns:
                return
            if piece.end_ns > start_ns:
                yield Piece(max(start_ns, piece.start_ns), min(end_ns, piece.end_ns), piece.span)


def of(record: Record, prefetch: int, queued: Iterable[Span] = ()) -> Tracks:
    """prefetch: as the recipe has it; queued: what a GPU did, see `on_device`.

    Raises DavidError where no step was recorded."""
    by_thread: dict[int, list[Span]] = defaultdict(list)
    for span in [*record.spans, *queued]:
        by_thread[span.thread].append(span)
    pieces = {thread: flatten(spans) for thread, spans in by_thread.items()}
    waited = [one.span for one in pieces.get(record.thread, []) if one.span.name == "wait"]
    if not waited:
        raise DavidError("no step was recorded")
    its = id(waited[-1].of)  # others may have been opened before, to look at a batch or to see which is faster

    def named(name: str) -> list[Span]:
        found = (span for span in record.spans if span.name == name and id(span.of) == its)
        return sorted(found, key=lambda span: span.start_ns)

    samples: dict[int, list[Span]] = defaultdict(list)
    for span in named("sample"):
        samples[span.number].append(span)
    holds = named("hold")
    return Tracks(
        pieces,
        {DEVICE: "GPU", COPIES: "GPU, copies"} | record.threads,
        record.thread,
        prefetch,
        holds[0].thread if holds else 0,
        named("wait"),
        holds,
        named("prepare"),
        named("batch"),
        samples,
        {span.number: span.start_ns for span in named("submit")},
        [span for span in record.spans if span.name == "images"],
        [span for span in record.spans if span.name == "share"],
    )


def outer_first(spans: Iterable[Span]) -> list[Span]:
    """One thread's spans, each behind those that it lies within. They come in the order in which they ended."""
    ordered = sorted(enumerate(spans), key=lambda one: (one[1].start_ns, -one[1].end_ns, -one[0]))
    return [span for _, span in ordered]


def flatten(spans: list[Span]) -> list[Piece]:
    """The innermost of one thread's spans at each time, in their order."""
    pieces: list[Piece] = []
    open_: list[Span] = []
    at = 0

    def until(end_ns: int) -> None:
        nonlocal at
        if end_ns > at:
            pieces.append(Piece(at, end_ns, open_[-1]))
        at = max(at, end_ns)

    for span in outer_first(spans):
        while open_ and open_[-1].end_ns <= span.start_ns:
            until(open_[-1].end_ns)
            open_.pop()
        if span.end_ns <= span.start_ns or (span.name != SYNCHRONISE and any(one.name in WHOLE for one in open_)):
            continue
        if open_:
            until(span.start_ns)
            if span.end_ns > open_[-1].end_ns:  # by microseconds, which pass between two readings of the clock
                span = span._replace(end_ns=open_[-1].end_ns)
        at = max(at, span.start_ns)
        open_.append(span)
    while open_:
        until(open_[-1].end_ns)
        open_.pop()
    return pieces


def on_device(queued: list[Queued], began_ns: int, after_ms: Callable[[Any], float]) -> list[Span]:
    """What a GPU did, as spans whose `of` is when the host asked for it.

    began_ns: by the host's clock, when an event happened on the idle device; after_ms: from that to another event"""

    def at(event: Any) -> int:
        return began_ns + round(1e6 * after_ms(event))

    return [
        Span(COPIES if one.copies else DEVICE, one.name, at(one.begin), at(one.end), of=one.asked_ns) for one in queued
    ]
