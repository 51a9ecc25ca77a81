"""A first look at a set before hours are spent on it: some samples, spread over all archives, are read and judged; and
the same judgement goes on over what workers see while they pack.

What the user accepts of it (`david pack --accept`) decides no byte of a shard. It is kept in the record, in
`conventions-GROUP.json`, with what spoke against it before packing began; and from there in the set's report.
"""

import json
import signal
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from multiprocessing import connection, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import cv2

from david.pack import files, machine
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Seen
from david.pack.check.report import Accepted
from david.pack.errors import BadSample, DavidError
from david.pack.raw.archive import Entry
from david.pack.sources.source import Source
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
ALL = "the raw data"

Listed = tuple[str, Entry]


def chosen(plan: Plan) -> list[Listed]:
    """The samples to look at: spread evenly over the set in the order of archives and ids; all of a small set."""
    entries = sorted(
        (entry for shard in plan.shards for entry in shard.samples), key=lambda one: (one[1].archive, one[0])
    )
    number = min(len(entries), max(LEAST, min(MOST, round(len(entries) * SHARE))))
    return [entries[(2 * place + 1) * len(entries) // (2 * number)] for place in range(number)]


def agree(record: Record, group: str | None, accept: Collection[str], replaceable: bool) -> None:
    """Hold what is accepted now against what an earlier run of this record accepted; call it under `record.alone`. More
    may be accepted later, and less only where nothing binds (`replaceable`): then the look is taken again.

    Raises DavidError with both."""
    there = _names(record, group)
    if there <= set(accept):
        return
    if not replaceable:
        raise DavidError(
            f"{record.shards}: was begun with {_options(there)}, now with {_options(accept)}; go on with the same or "
            "start over with --restart"
        )
    _note(record, group).unlink()


def accepted(record: Record, group: str | None = None) -> list[Accepted]:
    """What was accepted when the samples of a group were looked at; without one, of all that there are."""
    found: dict[Accepted, None] = {}
    for note in sorted(record.folder.glob(_note(record, group or "*").name)):
        try:
            found |= dict.fromkeys(Accepted.rows(json.loads(note.read_bytes()).get("accepted", [])))
        except (ValueError, TypeError, AttributeError) as error:
            raise DavidError(f"{note}: damaged ({error}); start over with --restart") from error
    return list(found)


def begin(plan: Plan, record: Record, workers: int, say: Callable[[str], None], accept: Collection[str] = ()) -> None:
    """Look at some samples of the plan, unless that was done for this record and these names before; later runs go on
    at once.

    say: hears a sentence before, and each fault that is accepted; accept: conventions whose faults are. Raises
    DavidError where others are broken, in all or in one archive."""
    if _note(record, plan.group).exists() and set(accept) <= _names(record, plan.group):
        return
    entries = chosen(plan)
    say(f"looking at {len(entries):,} of {plan.samples:,} samples first: are axes, order, signs and units as expected?")
    seen = look(entries, plan.packing, workers)
    source = plan.packing.source
    looked = f"{len(seen):,} of {plan.samples:,} samples"
    kept = _judge(seen, source, ALL, f"{looked}, spread over the set", NOTHING, accept)
    broken = {one.convention for one in kept}
    by_archive: dict[Path, list[Seen]] = defaultdict(list)
    for one in seen:
        by_archive[one.archive].append(one)
    for archive, part in by_archive.items():
        if len(part) >= LEAST_OF_ARCHIVE:
            own = _judge(part, source, archive, f"{len(part):,} samples of it", NOTHING, accept)
            kept += [one for one in own if one.convention not in broken]
    broken = {one.convention for one in kept}
    kept += [Accepted(name, looked) for name in sorted(set(accept) - broken)]
    for one in kept:
        say(str(one))
    for doubt in conventions.doubts(seen, source.checks):
        say(f"note: {doubt}")
    content = {"looked_at": len(seen)} | ({"accepted": [asdict(one) for one in kept]} if kept else {})
    with record.alone():
        if not set(accept) < _names(record, plan.group):  # of another part that began meanwhile
            files.write_whole(_note(record, plan.group), json.dumps(content).encode())


def _note(record: Record, group: str | None) -> Path:
    return record.folder / f"conventions-{group or 'all'}.json"


def _names(record: Record, group: str | None) -> set[str]:
    return {one.convention for one in accepted(record, group)}


def _options(names: Iterable[str]) -> str:
    return " ".join(f"--accept {name}" for name in sorted(set(names))) or "nothing accepted"


def _judge(
    seen: Iterable[Seen], source: Source, where: Path | str, looked: str, what_now: str, accept: Collection[str]
) -> list[Accepted]:
    """The faults of these samples that are accepted. Raises DavidError where there are others."""
    faults = conventions.faults(list(seen), source.checks)
    if refused := [one for one in faults if one.convention not in accept]:
        wrong, expected = "; ".join(one.told for one in refused), "; ".join(one.expected for one in source.checks)
        options = [option for one in source.checks if (option := getattr(one, "option", "")) and option in wrong]
        how = f"change {' or '.join(options)}, or convert" if options else "convert"
        names = {one.convention for one in refused}
        so = "" if "" in names else f", or, if it is right as it is, go on with {_options(names)}"
        raise DavidError(f"{where}: {wrong} (seen in {looked}); {what_now.format(how=how)}{so}; expected: {expected}")
    name = where.name if isinstance(where, Path) else where
    return [Accepted(one.convention, name, f"{one.told} (seen in {looked})") for one in faults]


class Watch:
    """Hears what workers see in each sample, and judges each archive over a sliding body of its latest samples.

    accept: conventions whose faults are accepted; known: of those, what was said before; say: hears the others, once an
    archive"""

    def __init__(self, source: Source, accept: Collection[str], known: Iterable[Accepted], say: Callable[[str], None]):
        self.source, self.accept, self.say = source, accept, say
        self.known = {(one.convention, one.where) for one in known}
        self.bodies: dict[Path, deque[Seen]] = {}
        self.counts: dict[Path, int] = defaultdict(int)

    def hear(self, one: Seen) -> None:
        """Raises DavidError where the archive of this sample breaks conventions that are not accepted."""
        body = self.bodies.setdefault(one.archive, deque(maxlen=BODY))
        body.append(one)
        self.counts[one.archive] += 1
        if self.counts[one.archive] % EVERY:
            return
        for fault in _judge(body, self.source, one.archive, f"its latest {len(body)} samples", MENDED, self.accept):
            if self.known.isdisjoint({(fault.convention, ALL), (fault.convention, fault.where)}):
                self.known.add((fault.convention, fault.where))
                self.say(str(fault))


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
