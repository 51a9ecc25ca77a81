"""One share of what `david predict` was asked for, in this process: the network is loaded, agreed with what an earlier
run wrote, and asked about every input that is not done yet.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, closing
from itertools import groupby
from typing import TYPE_CHECKING, Any

import typer

from david.pack.errors import many
from david.train.use.work import Told, Work

if TYPE_CHECKING:
    from david.model.predict.inputs import Input
    from david.model.predict.predictor import Predictor
    from david.model.predict.record import Outcome, Record

Bars = Callable[[str, str], AbstractContextManager[Callable[[int, int | None], None]]]  # of what, and its unit


def loaded(work: Work) -> "Predictor":
    """The network that was asked for. Raises DavidError where it can't be, or does not say what is to be saved."""
    from david.model.predict import outputs
    from david.train.use import load

    predictor = load.loaded(work.places, work.device, work.precision, work.fit, work.size)
    outputs.require(work.saves, predictor.fields, predictor.name)
    return predictor


def predicted(work: Work, mine: "list[Input]", stop: Any, bars: Bars, led: bool = False) -> Told:
    """Predict what is not done yet of `mine`, the inputs of `work.part`, and write down what became of each.

    stop: `requested` says by which signal the work is to end, then EXIT_STOPPED is raised; `begun` is set here. led:
    whether another process looks after the folder, see `Record.opened`."""
    from david.model.predict.record import Record

    predictor = loaded(work)
    record = Record(work.out, work.part)
    told = Told(work.out, record.path.name, len(mine))
    with record.opened(work.settings(predictor), work.restart, led):
        record.require_free(mine, work.endings())
        todo = [one for one in mine if not record.done(one)]
        told.kept = len(mine) - len(todo)
        stop.begun = True
        _predict(work, predictor, todo, record, told, stop, bars)
        record.finish(mine)
    return told


def stopped(signal: str, done: int, inputs: int) -> typer.Exit:
    """Say that a signal ended the work; what the command leaves with."""
    from david.train.signals import EXIT_STOPPED

    typer.echo(f"stopped by {signal} after {done:,} of {many(inputs, 'input')}; the same command goes on", err=True)
    return typer.Exit(EXIT_STOPPED)


def _predict(
    work: Work, predictor: "Predictor", todo: "list[Input]", record: "Record", told: Told, stop: Any, bars: Bars
) -> None:
    from david.model.predict import runner
    from david.train.use import filming

    on_gpu = any(engine.on_gpu for engine in predictor.engines)
    job = runner.Job(predictor, work.out, work.saves, work.look, work.batch_size or (8 if on_gpu else 1))
    number = 0
    for films, some in groupby(todo, filming.films):
        group = list(some)
        if films:
            outcomes = filming.run(job, group, work.steady, work.frames, stop, bars)
        else:
            outcomes = _pictures(job, group, bars)
        with closing(outcomes):
            for outcome in outcomes:
                _note(outcome, record, told)
                number += 1
                if stop.requested:
                    break
        if stop.requested and number < len(todo):
            raise stopped(stop.requested, told.kept + number, told.inputs)


def _pictures(job: Any, todo: "list[Input]", bars: Bars) -> "Generator[Outcome, None, None]":
    from david.model.predict import runner

    with bars("predict", "images") as tell, closing(runner.run(job, todo)) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            tell(number, len(todo))
            yield outcome


def _note(outcome: "Outcome", record: "Record", told: Told) -> None:
    record.add(outcome)
    if outcome.error:
        told.broken[outcome.input.name] = outcome.error
    else:
        told.predicted += 1
