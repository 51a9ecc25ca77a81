"""`david predict --engine ray`: shares of the inputs as Ray tasks, on a cluster that shares the file system, or on a
local Ray where none runs.

A task is `--part i/n` of the same work in a process of its own, so files and lines are those of the parts. One whose
process or machine dies is begun again, and goes on from its record. How many inputs are over is read in the records.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from david.pack import cluster, machine
from david.pack.errors import DavidError, many
from david.pack.part import Part
from david.train.use import share
from david.train.use.work import Told, Work

if TYPE_CHECKING:
    from david.model.predict.inputs import Input

TURNS = 4  # parts for each task that there is room for, so that none waits long for the slowest
RETRIES = 2  # of a task whose process or machine died
POLL_S = 0.5
PATIENCE_S = 10.0  # until it is told that no machine is there
GRACE_S = 30.0  # for tasks to finish the files that they are writing


class Unstopped:
    """In a task no signal asks for an end: the process that began it interrupts it."""

    begun, requested = True, ""


class Counted:
    """How many lines a part's record has, read as it grows."""

    def __init__(self, path: Path):
        self._path, self._read, self._lines = path, 0, 0

    def lines(self) -> int:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._read:  # written anew
                    self._read = self._lines = 0
                file.seek(self._read)
                while block := file.read(1 << 20):
                    self._read += len(block)
                    self._lines += block.count(b"\n")
        except FileNotFoundError:
            pass
        return self._lines


def predicted(work: Work, inputs: "Sequence[Input]", stop: Any, bars: share.Bars) -> Told:
    """As `share.predicted`, of all inputs. Raises DavidError also where Ray is not installed or a task fails for good;
    what is done stays done."""
    from david.model.predict.inputs import WEBCAM
    from david.model.predict.record import LINES, Record

    if cameras := [one.name for one in inputs if one.kind == WEBCAM]:
        raise DavidError(f"{cameras[0]}: a camera films for this machine alone; leave out --engine ray")
    stop.begun = True  # from here on a signal ends tasks, and a local Ray
    with cluster.joined(machine.cores()) as ray:
        folder = str(Path.cwd())
        needs, _ = room(_nodes(ray), gpu=work.device != "cpu")
        look = _task(ray, _look, needs, "predict: look").remote(work, folder, needs)
        seen = next(_ended(ray, {look: "the network"}, stop), None)
        if seen is None:
            raise share.stopped(stop.requested, 0, len(inputs))
        settings, on_gpu = seen[1]
        nodes = _nodes(ray)
        needs, at_once = room(nodes, gpu=on_gpu)
        record = Record(work.out)
        with record.leading(settings, work.restart):
            record.require_free(inputs, work.endings())
            of = record.parts() or TURNS * at_once
            parts = [Part(number, of) for number in range(1, min(of, len(inputs)) + 1)]
            machines = many(len(nodes), "machine")
            typer.echo(f"{many(len(parts), 'part')} as Ray tasks, {at_once:,} at once on {machines}")
            waiting = {
                _task(ray, _share, needs, f"predict {part.number}/{part.of}").remote(
                    replace(work, part=part, restart=False), part.of_all(inputs), folder, needs
                ): part
                for part in parts
            }
            return _all(ray, waiting, Told(work.out, LINES, len(inputs)), inputs, stop, bars)


def _all(
    ray: Any, waiting: dict[Any, Part], told: Told, inputs: "Sequence[Input]", stop: Any, bars: share.Bars
) -> Told:
    """What all tasks did, as one."""
    from david.model.predict.record import Record

    counted = {part: Counted(Record(told.out, part).path) for part in waiting.values()}
    sizes = {part: len(range(part.number - 1, len(inputs), part.of)) for part in counted}
    broken: dict[str, str] = {}
    over = 0

    def so_far() -> int:
        return over + sum(min(counted[part].lines(), sizes[part]) for part in waiting.values())

    with bars("predict", "inputs") as tell:
        for part, one in _ended(ray, waiting, stop, lambda: tell(so_far(), len(inputs))):
            over += sizes[part]
            told.predicted += one.predicted
            told.kept += one.kept
            broken |= one.broken
            tell(so_far(), len(inputs))
    if waiting:
        raise share.stopped(stop.requested, so_far(), len(inputs))
    told.broken = {one.name: broken[one.name] for one in inputs if one.name in broken}
    return told


def room(nodes: Sequence[dict[str, float]], gpu: bool) -> tuple[dict[str, int], int]:
    """What a task asks Ray for, and how many run at once. nodes: the resources of each; gpu: whether the network may
    compute on one, where any machine has it

    A task on a GPU takes its share of its machine's cores too, which decode and write. On CPUs it takes a machine as a
    run there does, since what a network says depends on the number of threads in the last bits; the smallest machine
    tells how many cores that are."""
    if gpu and (having := [one for one in nodes if one.get("GPU", 0) >= 1]):
        cores = min(int(one.get("CPU", 0) // int(one["GPU"])) for one in having)
        return {"num_gpus": 1, "num_cpus": cores}, sum(int(one["GPU"]) for one in having)
    counts = [int(one.get("CPU", 0)) for one in nodes if one.get("CPU", 0) >= 1]
    cores = min(counts, default=1)
    return {"num_cpus": cores}, max(1, sum(count // cores for count in counts))


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _task(ray: Any, function: Any, needs: dict[str, int], name: str) -> Any:
    return ray.remote(max_retries=RETRIES, **needs)(function).options(name=name)


def _look(work: Work, folder: str, needs: dict[str, int]) -> tuple[dict[str, Any], bool]:
    """A task: what files depend on, and whether the network computes on a GPU."""
    _settle(folder, needs)
    predictor = share.loaded(work)
    return work.settings(predictor), any(engine.on_gpu for engine in predictor.engines)


def _share(work: Work, mine: "list[Input]", folder: str, needs: dict[str, int]) -> Told:
    """A task: one part."""
    _settle(folder, needs)
    return share.predicted(work, mine, Unstopped(), _no_bar, led=True)


def _settle(folder: str, needs: dict[str, int]) -> None:
    """In a task: be where the command was given, and take the cores that were asked for."""
    import warnings

    import torch

    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        os.chdir(folder)
    except OSError as error:
        raise DavidError(
            f"{folder}: not there on {os.uname().nodename} ({error.strerror}); --engine ray needs a file system that "
            "all machines share"
        ) from error
    machine.share(needs["num_cpus"])
    torch.set_num_threads(machine.cores())


@contextmanager
def _no_bar(what: str, unit: str) -> Iterator[Any]:
    yield lambda done, total: None


def _ended(ray: Any, waiting: dict[Any, Any], stop: Any, poll: Any = lambda: None) -> Iterator[tuple[Any, Any]]:
    """What each task of `waiting` is called and gave, as it ends; it is taken out. Where `stop` is requested or an
    error is raised the rest is interrupted: files that are being written are finished."""
    from ray.exceptions import RayError

    begun, told = time.monotonic(), False
    try:
        while waiting and not stop.requested:
            ready, _ = ray.wait(list(waiting), timeout=POLL_S)
            for task in ready:
                try:
                    given = ray.get(task)
                except RayError as error:
                    raise _reason(error, waiting.pop(task)) from error
                yield waiting.pop(task), given
            poll()
            if not told and time.monotonic() - begun > PATIENCE_S and ray.cluster_resources().get("CPU", 0) < 1:
                typer.echo("no machine of the cluster is there to compute; waiting for one", err=True)
                told = True
    finally:
        _interrupt(ray, list(waiting))


def _interrupt(ray: Any, tasks: list[Any]) -> None:
    for task in tasks:
        ray.cancel(task)
    left = ray.wait(tasks, num_returns=len(tasks), timeout=GRACE_S)[1] if tasks else []
    for task in left:
        ray.cancel(task, force=True)


def _reason(error: Exception, what: Any) -> Exception:
    """What went wrong in a task, as it would be raised here."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, DavidError | OSError):
        return cause
    name = f"part {what.number}/{what.of}" if isinstance(what, Part) else what
    said = f"{type(cause).__name__}: {cause}" if cause else str(error) or type(error).__name__
    first = said.strip().partition("\n")[0]
    return DavidError(f"{name}: its Ray task failed ({first}); what is done stays, and the same command goes on")
