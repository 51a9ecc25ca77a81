"""`david label SHARDS --teacher FILE --out SIDECAR`: a shard set in, what a teacher says of each sample of it out.

Each shard of the sidecar (`pack/shards/sidecar.py`) is a pure function of the set's shard, the teacher and how pictures
reach it. Agree with what an earlier run began, keep the shards it finished, write the others, and name them all in the
manifest. Of a sidecar that is finished, shards that changed since are written again, and nothing else.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from david.model.predict.predictor import Predictor
from david.pack import machine
from david.pack.part import Part
from david.pack.shards import manifest, shard, sidecar
from david.pack.shards.manifest import Manifest, Shard
from david.pack.work.plan import encoders
from david.pipeline.ahead import Ahead
from david.pipeline.reading.reader import Reader
from david.pipeline.stages import Stages
from david.train.labels import stream
from david.train.labels.record import Record, compare
from david.train.labels.stream import Teaching, Todo
from david.train.use import load
from david.train.use.load import Found

WAITING = 16  # samples whose labels wait to be written
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """What was asked for. shards: the folder of the set; words: of the command that goes on; gpu: the number of the one
    that computes, where there are several"""

    shards: Path
    teacher: Found
    out: Path
    words: str
    fit: str | None = None
    size: int | None = None
    precision: str = "auto"
    device: str = "auto"
    batch_size: int | None = None
    part: Part = field(default_factory=Part)
    restart: bool = False
    gpu: int = 0


@dataclass(frozen=True)
class Told:
    """What a run did. samples: of its part; labelled: now; whole: the sidecar's manifest, None where other parts have
    still to write theirs"""

    samples: int
    labelled: int
    whole: Manifest | None


def silent(done: int, total: int) -> None:
    """A `Tell` that says nothing."""


def label(work: Work, tell: Tell = silent) -> Told:
    """Write the labels of a part of a set. tell: hears the samples done and those in all.

    Raises DavidError where the teacher says no depth, what is there was begun otherwise, or another is at work on it;
    BadSample where a sample can't be had; OSError where the system refuses."""
    base = manifest.load(work.shards)
    predictor = load.loaded([work.teacher], work.device, work.precision, work.fit, work.size, work.gpu)
    teaching = _teaching(work, base, predictor)
    asked = _asked(work, base, teaching)
    record = Record(work.out)
    rows = [(split, one) for split, shards in base.splits.items() for one in shards]
    mine = work.part.of_all(rows)
    with ExitStack() as held:
        with record.alone():
            record.require_own()
            if work.restart:
                record.begin_anew(base)
            there = sidecar.load(work.out) if (work.out / manifest.NAME).exists() else None
            if there:
                compare(work.out, {"belongs": there.belongs, "libraries": there.libraries}, asked)
            else:
                record.agree(asked)
            held.enter_context(record.claim("all", work.part.number, work.part.of))
        try:
            for _, one in mine:
                record.sweep(one.name)
            known = {one.name: one for shards in there.splits.values() for one in shards} if there else {}
            lines = known if there else {one.name: record.done(one.name) for _, one in mine}
            written = [found for _, one in mine if (found := lines[one.name])]
            changed = {one.name for one in shard.changed(work.out, written, machine.cores())}
            kept = {one.name for one in written} - changed
            for name in changed:
                record.forget(name)
            missing = [row for row in mine if row[1].name not in kept]
            _write(work, base, teaching, missing, known, record, sum(one.samples for _, one in mine), tell)
        finally:
            for _, one in mine:
                record.sweep(one.name)
        samples, done = (sum(one.samples for _, one in some) for some in (mine, missing))
        return Told(samples, done, record.end())


def _teaching(work: Work, base: Manifest, predictor: Predictor) -> Teaching:
    on_gpu = any(engine.on_gpu for engine in predictor.engines)
    batch_size = work.batch_size or (8 if on_gpu else 1)
    return Teaching(predictor, stream.said_by(predictor), batch_size, base.compression)


def _asked(work: Work, base: Manifest, teaching: Teaching) -> dict[str, Any]:
    """What the bytes depend on, as JSON."""
    (engine,), predictor = teaching.predictor.engines, teaching.predictor
    teacher = {
        **{"name": work.teacher.name, "sha256": load.fingerprint(work.teacher, engine), "kind": engine.kind},
        **{"says": teaching.says, "fit": predictor.fit, "size": predictor.side},
        **{"precision": engine.precision, "batch_size": teaching.batch_size},
        **({"threads": engine.threads} if engine.threads else {}),
    }
    return {
        "belongs": {"shards": base.fingerprint, "teacher": teacher},
        "options": {"image": base.image, "compression": base.compression},
        "libraries": {**encoders(), **engine.versions},
        "splits": list(base.splits),
        "shards": [[split, one.name, one.samples] for split, shards in base.splits.items() for one in shards],
        "words": work.words,
    }


def _write(
    work: Work,
    base: Manifest,
    teaching: Teaching,
    missing: list[tuple[str, Shard]],
    expected: dict[str, Shard],
    record: Record,
    samples: int,
    tell: Tell,
) -> None:
    """Write shards, and of a sidecar that is not finished their lines. expected: by name, of one that is."""
    done = samples - sum(one.samples for _, one in missing)
    with ExitStack() as held:
        readers = {split: Reader(work.shards, split) for split in {split for split, _ in missing}}
        for reader in readers.values():
            held.callback(reader.close)
        starts = {
            one.name: start
            for shards in base.splits.values()
            for one, start in zip(shards, accumulate((one.samples for one in shards), initial=0), strict=False)
        }
        todos = [Todo(readers[split], starts[one.name], one) for split, one in missing]
        rows = held.enter_context(closing(stream.labelled(teaching, todos)))
        ahead = held.enter_context(closing(Ahead(rows, WAITING, Stages())))
        for todo in todos:

            def some(count: int = todo.listed.samples):
                nonlocal done
                for _ in range(count):
                    yield next(ahead)
                    done += 1
                    tell(done, samples)

            path, name = work.out / f"{todo.listed.name}.tar", todo.listed.name
            fields = (sidecar.TEACHER_DEPTH,)
            written = shard.write(path, some(), base.image, base.compression, fields, expected.get(name))
            if not expected:
                record.finish(written)
