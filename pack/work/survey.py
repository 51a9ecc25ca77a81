"""A first look at a set before hours are spent on it: some samples, spread over all archives, are read and judged; and
the same judgement goes on over what workers see while they pack.
"""

import json
import signal
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import cv2

from david.pack import files, machine
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Convention, Seen
from david.pack.errors import BadSample, DavidError
from david.pack.raw.archive import Entry
from david.pack.work import crew
from david.pack.work.plan import Packing, Plan
from david.pack.work.record import Record

LEAST, SHARE, MOST = 24, 1 / 20, 256  # samples that are looked at: a share of the set, within bounds
LEAST_OF_ARCHIVE = 4  # samples by which an archive is judged for itself
BODY = 64  # the latest samples of an archive that are judged together while packing,
EVERY = 8  # after so many new ones
PATIENCE_S = 20.0  # for one sample; what takes longer isn't looked at here, but dealt with while packing
LOSSES = 8  # of processes, after which what has been seen must do

NOTHING = "nothing was packed: {how} the raw data, and pack again"
MENDED = "packing was stopped: leave that archive out or mend it, and begin anew with --restart"

Listed = tuple[str, Entry]


def chosen(plan: Plan) -> list[Listed]:
    """The samples to look at: spread evenly over the set in the order of archives and ids; all of a small set."""
    entries = sorted(
        (entry for shard in plan.shards for entry in shard.samples), key=lambda one: (one[1].archive, one[0])
    )
    number = min(len(entries), max(LEAST, min(MOST, round(len(entries) * SHARE))))
    return [entries[(2 * place + 1) * len(entries) // (2 * number)] for place in range(number)]


def begin(plan: Plan, record: Record, workers: int, say: Callable[[str], None]) -> None:
    """Look at some samples of the plan, unless that was done for this record before; later runs go on at once.

    say: hears a sentence before. Raises DavidError where conventions are broken, in all or in one archive."""
    note = record.folder / f"conventions-{plan.group or 'all'}.json"
    if note.exists():
        return
    entries = chosen(plan)
    say(f"looking at {len(entries):,} of {plan.samples:,} samples first: are axes, order, signs and units as expected?")
    seen = look(entries, plan.packing, workers)
    checks = plan.packing.source.checks
    looked = f"{len(seen):,} of {plan.samples:,} samples, spread over the set"
    _refuse(seen, checks, "the raw data", looked, NOTHING)
    by_archive: dict[Path, list[Seen]] = defaultdict(list)
    for one in seen:
        by_archive[one.archive].append(one)
    for archive, part in by_archive.items():
        if len(part) >= LEAST_OF_ARCHIVE:
            _refuse(part, checks, archive, f"{len(part):,} samples of it", NOTHING)
    for doubt in conventions.doubts(seen, checks):
        say(f"note: {doubt}")
    files.make_folder(note.parent)
    files.write_whole(note, json.dumps({"looked_at": len(seen)}).encode())


def _refuse(seen: Iterable[Seen], checks: Sequence[Convention], where: Path | str, looked: str, what_now: str) -> None:
    if faults := conventions.faults(list(seen), checks):
        wrong, expected = "; ".join(faults), "; ".join(one.expected for one in checks)
        options = [option for one in checks if (option := getattr(one, "option", "")) and option in wrong]
        how = f"change {' or '.join(options)}, or convert" if options else "convert"
        raise DavidError(f"{where}: {wrong} (seen in {looked}); {what_now.format(how=how)}; expected: {expected}")


@dataclass
class Watch:
    """Hears what workers see in each sample, and judges each archive over a sliding body of its latest samples."""

    checks: Sequence[Convention]
    bodies: dict[Path, deque[Seen]] = field(default_factory=dict)
    counts: dict[Path, int] = field(default_factory=lambda: defaultdict(int))

    def hear(self, one: Seen) -> None:
        """Raises DavidError where the archive of this sample breaks conventions."""
        body = self.bodies.setdefault(one.archive, deque(maxlen=BODY))
        body.append(one)
        self.counts[one.archive] += 1
        if self.counts[one.archive] % EVERY == 0:
            _refuse(body, self.checks, one.archive, f"its latest {len(body)} samples", MENDED)


def look(entries: list[Listed], packing: Packing, workers: int) -> list[Seen]:
    """What is seen in these samples, in no order. A sample whose decoder crashes or hangs is left out."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["david.pack.work.worker", "david.pack.work.survey"])
    lost, seen = 0, []
    waiting = [part for number in range(workers) if (part := entries[number::workers])]
    at_work: dict[Any, tuple[ForkServerProcess, deque[Listed]]] = {}
    try:
        while waiting or at_work:
            while waiting:
                part = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_look, args=(theirs, part, packing), daemon=True)
                process.start()
                theirs.close()
                at_work[ours] = process, deque(part)
            ready = connection.wait(list(at_work), timeout=PATIENCE_S)
            pipe: Any  # a Connection; its type differs by platform
            for pipe in ready or list(at_work):
                process, left = at_work[pipe]
                try:
                    seen.append(pipe.recv() if ready else _gone())
                    left.popleft()
                except (EOFError, ConnectionResetError):
                    del at_work[pipe]
                    _end(process, pipe)
                    lost += bool(left)
                    if len(left) > 1 and lost < LOSSES:
                        waiting.append(list(left)[1:])
    finally:
        for pipe, (process, _) in at_work.items():
            _end(process, pipe)
    return seen


def _gone() -> Seen:
    raise EOFError


def _end(process: ForkServerProcess, pipe: Any) -> None:
    process.kill()
    process.join()
    pipe.close()


def _look(pipe: Any, entries: list[Listed], packing: Packing) -> None:
    """In a process of its own: what is seen in each sample, one after the other."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    crew.hush()
    machine.keep_heap()
    cv2.setNumThreads(1)
    try:
        for key, entry in entries:
            pipe.send(see(key, entry, packing))
    except BrokenPipeError:
        sys.exit(1)


def see(key: str, entry: Entry, packing: Packing) -> Seen:
    """What is seen in one sample."""
    try:
        sample = packing.source.load(key, entry, packing.options.max_pixels)
        return Seen(entry.archive, evidence.examine(sample, packing.fields)[2])
    except BadSample as error:
        return Seen(entry.archive, None, error.reason)
