"""Worker processes that write shards, watched from outside.

A decoder of foreign bytes may crash or hang. Each worker says which sample it turns to, so that the one at fault is
known: the worker is replaced and its shard begun again, and a sample that brings two workers down is bad. Only
computing has a limit of time: a slow disk, to read from or to write to, says nothing about a sample.
"""

import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import cv2

from david.pack import machine
from david.pack.errors import BadSample, DavidError
from david.pack.work.plan import Packing, ShardPlan
from david.pack.work.record import Done
from david.pack.work.worker import Start, Tally, Turn, write_shard

PATIENCE_S = 120.0  # for computing one sample; a healthy one takes a thirtieth of a second
TOLD_S = 60.0  # at the disk without a word, after which a worker's wait is told
STRIKES = 2  # workers that a sample may bring down before it is bad; one may have died of something else


@dataclass(frozen=True)
class Waits:
    """A worker has been at the disk for long; it is waited for as long as it takes. told: for what, in words."""

    told: str


@dataclass(frozen=True)
class Event:
    """What a worker tells, or what is told of it. what: a sample begun or done, a shard done, a long wait, or the error
    that ends the pack."""

    worker: int
    what: Start | Tally | Done | Waits | DavidError | OSError


@dataclass(frozen=True)
class _Job:
    one: ShardPlan
    folder: Path
    packing: Packing
    quarantine: bool
    suspects: dict[str, str]


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Any  # a Connection; its type differs by platform
    job: _Job | None = None
    sample: str | None = None  # that it reads or computes; None: it writes
    computes: bool = False
    heard: float = field(default_factory=time.monotonic)
    told: bool = False  # that it waits, since it was heard

    def waits(self) -> Waits:
        assert self.job is not None
        if self.sample is None:
            what, path = "write", self.job.folder / f"{self.job.one.name}.tar"
        else:
            what, path = f"read sample {self.sample} from", dict(self.job.one.samples)[self.sample].archive
        return Waits(
            f"has been waiting for the disk for {TOLD_S:.0f} s, to {what} {path}; it goes on once that answers"
        )


def _work(pipe: connection.Connection) -> None:
    """The worker's life: a job in, events out. Ends with its parent, whose end of the pipe then closes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    hush()
    machine.keep_heap()
    cv2.setNumThreads(1)  # each worker has one core
    try:
        while True:
            job: _Job = pipe.recv()
            try:
                pipe.send(
                    write_shard(
                        job.one,
                        job.folder,
                        job.packing,
                        quarantine=job.quarantine,
                        suspects=job.suspects,
                        tell=pipe.send,
                    )
                )
            except BrokenPipeError:
                raise
            except (DavidError, OSError) as error:
                pipe.send(error)
    except (EOFError, BrokenPipeError):
        sys.exit(1)


def hush() -> None:
    """Let nothing through of what C libraries print about damaged files: the errors that follow name the samples.

    What Python prints is still seen."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with Path(os.devnull).open("wb") as nothing:
        for stream in (1, 2):
            os.dup2(nothing.fileno(), stream)


def run(shards: list[ShardPlan], folder: Path, packing: Packing, *, quarantine: bool, workers: int) -> Iterator[Event]:
    """Write the shards with so many workers; events as they come, an error as the last. All workers have ended when
    the iterator has."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["david.pack.work.worker"])
    waiting = deque(_Job(one, folder, packing, quarantine, {}) for one in shards)
    strikes: Counter[str] = Counter()
    crew: dict[int, _Worker] = {}

    def hire(number: int) -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True, name=f"david pack {number}")
        process.start()
        theirs.close()
        crew[number] = _Worker(process, ours)

    def assign(number: int) -> None:
        if waiting:
            worker = crew[number]
            worker.job, worker.sample, worker.computes, worker.told = waiting.popleft(), None, False, False
            worker.pipe.send(worker.job)

    def replace(number: int, why: str) -> Event | None:
        """A worker is gone: note the sample it was at, hire another, begin its shard again."""
        worker = crew[number]
        _end(worker)
        job, sample = worker.job, worker.sample
        assert job is not None
        suspects = job.suspects
        at = sample or job.one.name
        strikes[at] += 1
        if strikes[at] >= STRIKES:
            if sample is None:
                return Event(number, DavidError(f"{at}: {STRIKES} workers ended while they wrote it: {why}"))
            reason = f"brought {STRIKES} workers down: {why}"
            if not quarantine:
                archive = dict(job.one.samples)[sample].archive
                return Event(number, BadSample(f"{archive}, sample {sample}", reason))
            suspects = suspects | {sample: reason}
        waiting.appendleft(_Job(job.one, job.folder, job.packing, job.quarantine, suspects))
        hire(number)
        assign(number)
        return None

    try:
        for number in range(min(workers, len(shards))):
            hire(number)
            assign(number)
        while any(worker.job for worker in crew.values()):
            busy = {worker.pipe: number for number, worker in crew.items() if worker.job}
            for pipe in connection.wait(list(busy), timeout=1.0):
                number = busy[pipe]  # type: ignore[index]
                worker = crew[number]
                try:
                    what = worker.pipe.recv()
                except (EOFError, ConnectionResetError):
                    if event := replace(number, _told(worker.process)):
                        yield event
                        return
                    continue
                worker.heard, worker.told = time.monotonic(), False
                match what:
                    case Start(key):
                        worker.sample, worker.computes = key, False
                    case Turn(to):
                        worker.computes = to == "compute"
                        worker.sample = worker.sample if worker.computes else None
                        continue
                    case Tally():
                        worker.sample = None
                yield Event(number, what)
                if isinstance(what, Exception):
                    return
                if isinstance(what, Done):
                    worker.job = None
                    assign(number)
            for number in busy.values():
                worker = crew[number]
                silent_s = time.monotonic() - worker.heard
                if worker.computes:
                    hangs = silent_s > PATIENCE_S
                    if hangs and (event := replace(number, f"nothing heard for {PATIENCE_S:.0f} s")):
                        yield event
                        return
                elif worker.job and silent_s > TOLD_S and not worker.told:
                    worker.told = True
                    yield Event(number, worker.waits())
    finally:
        for worker in crew.values():
            _end(worker)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _told(process: ForkServerProcess) -> str:
    """How a worker ended, in words."""
    process.join(5)
    code = process.exitcode
    return f"ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
