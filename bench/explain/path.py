"""The critical path: what, had it been shorter, would have let training end sooner, for every moment of a run.

It is walked backwards from the end. Where a thread was at work, the time is that work's; where it waited, the walk goes
on in the thread that it waited for, at the moment when that one let it go. So every moment is on the path once, in
exactly one thread, and the parts add up to the whole (Kelley and Walker, "Critical-path planning and scheduling", 1959;
for programs Yang and Miller, "Critical path analysis for the execution of parallel and distributed programs", 1988).

While the trainer computes and the loader falls behind all the same, the path is in the loader: a faster step would win
nothing. What the trainer waited for, which is less, `waits` tells.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from david.bench.explain.tracks import COPIES, DEVICE, Tracks

LOADER, OTHER = "batch", "other"  # the loader's own thread; what nobody has named
NAMED = {"sample": LOADER, "hold": LOADER, "prepare": LOADER, "wait": LOADER, "step": OTHER, "images": OTHER}
NAMED |= {"share": OTHER, "write": "checkpoint", "synchronise": "log", "crossing": "copy"}
STAGES = (
    *("read", "inflate", "join", "decode", "augment", LOADER, "copy"),
    *("forward", "losses", "backward", "all-reduce", "optimiser"),
    *("log", "evaluation", "pictures", "checkpoint", OTHER),
)
OF_LOADER = STAGES[:7]


class Part(NamedTuple):
    """A part of the path."""

    start_ns: int
    end_ns: int
    stage: str
    thread: int


def stage(name: str) -> str:
    """As what a span's own time is told."""
    return NAMED.get(name, name)


def walk(tracks: Tracks, begin_ns: int, end_ns: int) -> list[Part]:
    """The path from `begin_ns` to `end_ns`, in the order of time, without a gap."""
    parts: list[Part] = []
    walker = _Walker(tracks)
    thread, at = tracks.trainer, end_ns
    while at > begin_ns:
        found, until, following = walker.back(thread, at)
        until = max(until, begin_ns)
        if until < at:
            parts.append(Part(until, at, found, thread))
        thread, at = following, until
    return parts[::-1]


class _Walker:
    """Knows who let whom go.

    freed: by its id, when a span that waits was let go, and by which thread
    given: by thread and time at which work begins that was given to it, when that was, and by which thread"""

    def __init__(self, tracks: Tracks):
        t = self.tracks = tracks
        self.freed = {id(wait): (made.end_ns, t.loader) for wait, made in zip(t.waits, t.batches, strict=False)}
        taken = ((span.end_ns, t.trainer) for span in t.waits)
        self.freed |= {id(hold): one for hold, one in zip(t.holds[t.prefetch :], taken, strict=False)}
        self.given: dict[tuple[int, int], tuple[int, int]] = {}
        for number, samples in t.samples.items():
            if number < len(t.prepares):
                last = max(samples, key=lambda one: one.end_ns)
                self.freed[id(t.prepares[number])] = last.end_ns, last.thread
            asked = t.submitted.get(number, -1), t.loader
            self.given |= {(one.thread, one.start_ns): asked for one in samples}
        for images, shares in t.beside():
            last = max(shares, key=lambda one: one.end_ns)
            self.freed[id(images)] = last.end_ns, last.thread
            self.given |= {(one.thread, one.start_ns): (images.start_ns, t.trainer) for one in shares}
        for thread, giver in ((COPIES, t.loader), (DEVICE, t.trainer)):
            self.given |= {(thread, one.start_ns): (one.span.of, giver) for one in t.pieces.get(thread, ())}
        for piece in t.pieces.get(DEVICE, ()):
            copied = t.before(COPIES, piece.start_ns + 1)
            if copied >= 0 and (over := t.pieces[COPIES][copied].end_ns) > piece.span.of:
                self.given[DEVICE, piece.start_ns] = over, COPIES

    def back(self, thread: int, at: int) -> tuple[str, int, int]:
        """What a thread did just before a time, since when, and in which thread the path goes on from there."""
        t = self.tracks
        place = t.before(thread, at)
        if place < 0:
            return self._idle(thread, -1, at)
        piece = t.pieces[thread][place]
        if piece.end_ns < at:
            return self._idle(thread, piece.end_ns, at)
        asks = thread == t.trainer and piece.span.name != "wait"
        device = COPIES if piece.span.name == "crossing" else DEVICE if asks else None
        if device and t.busy(device, at):
            piece = t.pieces[device][t.before(device, at)]  # which the host waits for, or runs ahead of
            return stage(piece.span.name), piece.start_ns, device
        since, follows = self.freed.get(id(piece.span), (-1, thread))
        if since > piece.start_ns and at > since:
            return stage(piece.span.name), since, follows
        if since > piece.start_ns and thread != follows:
            return stage(piece.span.name), at, follows
        return stage(piece.span.name), piece.start_ns, thread

    def _idle(self, thread: int, since: int, at: int) -> tuple[str, int, int]:
        """A thread had nothing to do from `since` on: the path goes on with whoever gave it what it began with then."""
        t = self.tracks
        given, giver = self.given.get((thread, at), (-1, thread))
        found = LOADER if t.loader in (thread, giver) else OTHER
        return (found, min(given, at), giver) if given > since else (found, since, thread)


def by_stage(parts: list[Part], bounds: list[int]) -> list[dict[str, int]]:
    """Nanoseconds of each stage between one bound and the next. Each adds up to the time between them."""
    found: list[dict[str, int]] = [defaultdict(int) for _ in bounds[1:]]
    place = 0
    for part in parts:
        while place < len(found) - 1 and bounds[place + 1] <= part.start_ns:
            place += 1
        start, here = part.start_ns, place
        while start < part.end_ns:
            end = part.end_ns if here == len(found) - 1 else min(part.end_ns, bounds[here + 1])
            found[here][part.stage] += end - start
            start, here = end, here + 1
    return [dict(one) for one in found]


def waits(tracks: Tracks, batches: range) -> Iterator[tuple[int, dict[str, float]]]:
    """Of each of these batches: nanoseconds that the trainer waited for it, and which stage it waited for, by
    the share of the time of the threads that were making it meanwhile."""
    for number, wait in zip(batches, tracks.waits[batches.start : batches.stop], strict=True):
        doing: dict[str, int] = defaultdict(int)
        for thread in {span.thread for span in tracks.samples.get(number, ())}:
            own = [one for one in tracks.samples[number] if one.thread == thread]
            for piece in tracks.overlapping(thread, wait.start_ns, wait.end_ns):
                if any(one.start_ns <= piece.start_ns < one.end_ns for one in own):
                    doing[stage(piece.span.name)] += piece.end_ns - piece.start_ns
        for piece in tracks.overlapping(tracks.loader, wait.start_ns, wait.end_ns):
            if piece.span.name not in ("hold", "prepare"):
                doing[stage(piece.span.name)] += piece.end_ns - piece.start_ns
        whole, waited = sum(doing.values()), wait.end_ns - wait.start_ns
        yield waited, {name: waited * one / whole for name, one in doing.items()} if whole else {LOADER: float(waited)}
