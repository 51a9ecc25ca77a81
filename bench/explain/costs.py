"""What a recorded run's work took by itself: time on a core, and time without one, of each sample, image and step.

Time that a thread waited for a core is left out: it is not the work's, and a replay finds its own.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean
from typing import NamedTuple

from david.bench.explain.run import Ran
from david.bench.explain.tracks import COPIES, DEVICE, SYNCHRONISE, WHOLE, Tracks, outer_first
from david.pipeline.trace import Span

OF_DALI = ("decode", "augment")  # in the loader's own thread
BESIDE = "images"  # in a step's work: here images are computed on threads of their own


class Work(NamedTuple):
    """core_ns: on a core; aside_ns: without one: of a disk, a sleep, Python's lock
    device_ns: of a GPU that is asked for it meanwhile"""

    name: str
    core_ns: float
    aside_ns: float = 0.0
    device_ns: float = 0.0

    def times(self, factor: float, on_device: float | None = None) -> "Work":
        more = factor if on_device is None else on_device
        return Work(self.name, self.core_ns * factor, self.aside_ns * factor, self.device_ns * more)


@dataclass(frozen=True)
class Costs:
    """samples: of each, its stages in their order; steps: of each, the trainer's own work; images: of each, where they
    are computed side by side; ask, give: of a batch, what the loader's own thread does before and after its samples are
    made
    waited: time of waiting for a core, as a part of the time on one
    by_dali: of each batch, what the loader's own thread waits for before it gives it, where DALI decodes; else empty
    copies: of each batch, nanoseconds of its way to a GPU; empty without one"""

    samples: list[list[Work]]
    steps: list[list[Work]]
    images: list[list[Work]]
    ask: Work
    give: Work
    waited: float = 0.0
    by_dali: list[list[Work]] = field(default_factory=list)
    copies: list[float] = field(default_factory=list)

    def each(self, batch: int) -> tuple[float, float]:
        """Nanoseconds on a core and without one for each sample of a batch of so many: its own, its image's, and its
        share of the step's."""
        found = [0.0, 0.0]
        for several, parts in (
            (self.samples, 1),
            (self.images, 1),
            (self.steps, batch),
            ([[self.ask, self.give]], batch),
        ):
            for work in (work for one in several for work in one):
                found[0] += work.core_ns / len(several) / parts
                found[1] += work.aside_ns / len(several) / parts
        return found[0], found[1]


def of(ran: Ran) -> Costs:
    """From the steps that count."""
    tracks, bounds = ran.tracks, ran.tracks.steps()
    begin = bounds[ran.first]
    made = (span for spans in tracks.samples.values() for span in spans if span.start_ns >= begin)
    shares = (share for _, shares in tracks.beside() for share in shares if share.start_ns >= begin)
    trainer = {id(one.span): one.span for one in tracks.pieces[tracks.trainer]}
    own = alone(trainer.values())
    if DEVICE in tracks.pieces:
        own = _asked(tracks, trainer, own)
    steps = [
        _step(tracks, own, wait.end_ns, end)
        for wait, end in list(zip(tracks.waits, bounds[1:], strict=True))[ran.first : -1]  # what comes last is more
    ]
    ask, give, by_dali = _loader(tracks, begin)
    return Costs(
        [_sample(tracks, one) for one in made],
        steps,
        [one for share in shares for one in _images(tracks, share)],
        ask,
        give,
        _waited(tracks, begin),
        by_dali,
        [one.end_ns - one.start_ns for one in tracks.pieces.get(COPIES, ()) if one.start_ns >= begin],
    )


def alone(spans: Iterable[Span]) -> dict[int, Work]:
    """What one thread's spans took without those within them, by their ids; of those that tell their time on a core."""
    own: dict[int, Work] = {}
    open_: list[Span] = []
    for span in outer_first(spans):
        if span.cpu_ns < 0:
            continue
        while open_ and open_[-1].end_ns <= span.start_ns:
            open_.pop()
        took = Work(span.name, span.cpu_ns, max(0, span.end_ns - span.start_ns - span.cpu_ns - span.core_ns))
        own[id(span)] = took
        if open_:
            around = own[id(open_[-1])]
            own[id(open_[-1])] = Work(around.name, around.core_ns - took.core_ns, around.aside_ns - took.aside_ns)
        open_.append(span)
    return {key: Work(one.name, max(0.0, one.core_ns), max(0.0, one.aside_ns)) for key, one in own.items()}


def _asked(tracks: Tracks, trainer: dict[int, Span], own: dict[int, Work]) -> dict[int, Work]:
    """The trainer's own work, with what a GPU did that was asked for in it. Asking takes a core all the time: what the
    trainer does not do of it, a thread of torch's does for it."""
    device: dict[tuple[str, int], int] = defaultdict(int)
    for piece in tracks.pieces[DEVICE]:
        device[piece.span.name, piece.span.of] += piece.end_ns - piece.start_ns
    asked = {}
    for key, work in own.items():
        there = device.get((work.name, trainer[key].start_ns), 0)
        asked[key] = Work(work.name, work.core_ns + work.aside_ns, 0.0, there) if there else work
    return asked


def _waited(tracks: Tracks, begin_ns: int) -> float:
    """For a core, all threads together, as a part of the time on one."""
    steps = {id(one.span): one.span for one in tracks.pieces[tracks.trainer] if one.span.name == "step"}
    made = (span for spans in tracks.samples.values() for span in spans)
    told = [one for one in (*made, *tracks.batches, *tracks.shares, *steps.values()) if one.start_ns >= begin_ns]
    return sum(one.core_ns for one in told) / max(1, sum(one.cpu_ns for one in told))


def _sample(tracks: Tracks, sample: Span) -> list[Work]:
    """Its stages, each on a core for the same part of its time."""
    pieces = list(tracks.overlapping(sample.thread, sample.start_ns, sample.end_ns))
    whole = sum(one.end_ns - one.start_ns for one in pieces)
    (took,) = alone([sample]).values()
    return [Work(one.span.name, *took.times((one.end_ns - one.start_ns) / whole)[1:]) for one in pieces]


def _images(tracks: Tracks, share: Span) -> list[list[Work]]:
    """Of each image that a thread computed: all up to the end of its backward."""
    pieces = list(tracks.overlapping(share.thread, share.start_ns, share.end_ns))
    spans = {id(one.span): one.span for one in pieces}
    own, found = alone(spans.values()), [[]]
    for key, span in sorted(spans.items(), key=lambda one: one[1].end_ns):
        if span.name != "share":
            found[-1].append(own[key])
        if span.name == "backward":
            found.append([])
    return found[:-1]


def _step(tracks: Tracks, own: dict[int, Work], start_ns: int, end_ns: int) -> list[Work]:
    """The trainer's work from one batch to its wait for the next. What has no span is on a core."""
    length: dict[int, int] = defaultdict(int)
    pieces = list(tracks.overlapping(tracks.trainer, start_ns, end_ns))
    for piece in pieces:
        length[id(piece.span)] += piece.end_ns - piece.start_ns
    found, at = [], start_ns
    for start, end, span in pieces:
        if start > at:
            found.append(Work("step", start - at))
        at = end
        if span.name in (BESIDE, SYNCHRONISE):
            found.append(Work(span.name, 0))
        elif span.name not in WHOLE or span.name == "log":
            found.append(own[id(span)].times((end - start) / length[id(span)]))
    return [*found, Work("step", end_ns - at)] if end_ns > at else found


def _loader(tracks: Tracks, begin_ns: int) -> tuple[Work, Work, list[list[Work]]]:
    """What the loader's own thread does before it waits for a batch's samples, and after, in the mean; and, of each
    batch, what it waits for DALI."""
    asks, gives, by_dali = [], [], []
    for whole in tracks.batches:
        if whole.start_ns < begin_ns or whole.cpu_ns < 0:
            continue
        pieces = list(tracks.overlapping(tracks.loader, whole.start_ns, whole.end_ns))
        dali = [Work(one.span.name, 0.0, one.end_ns - one.start_ns) for one in pieces if one.span.name in OF_DALI]
        waits = [one for one in pieces if one.span.name in ("prepare", "crossing", *OF_DALI)]
        own = whole.end_ns - whole.start_ns - sum(one.end_ns - one.start_ns for one in waits)
        before = waits[0].start_ns - whole.start_ns if waits else 0
        cpu_ns, share = min(whole.cpu_ns, own), before / max(1, own)
        asks.append(cpu_ns * share)
        gives.append(cpu_ns * (1 - share))
        by_dali += [dali] if dali else []
    return Work("batch", mean(asks or [0.0])), Work("batch", mean(gives or [0.0])), by_dali
