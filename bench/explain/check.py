"""Predictions, and what can be run of them beside what was predicted, in turns: before each a run as it is, of which
alone it is predicted, for a machine that others use too drifts."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import torch

from david.bench.explain.account import account
from david.bench.explain.costs import OF_DALI
from david.bench.explain.ifs import OF_SAMPLES, If
from david.bench.explain.predict import Predicted, Predictor
from david.bench.explain.run import Ran, run
from david.bench.explain.slower import slower
from david.pack import machine
from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards
from david.train.recipe import Recipe

SPLIT = "train"


@dataclass(frozen=True)
class Checked:
    """predicted: samples/s, and what would bound it; of each round the prediction and what was measured after it
    fits: whether the device's memory was enough to run it"""

    what: If
    predicted: Predicted
    rounds: tuple[tuple[float, float], ...] = ()
    fits: bool = True

    @property
    def measured(self) -> float | None:
        return median(one for _, one in self.rounds) if self.rounds else None

    @property
    def error(self) -> float | None:
        """Of the prediction, as a share of what was measured; the median over the rounds."""
        return median(told / one - 1 for told, one in self.rounds) if self.rounds else None

    def as_json(self) -> dict[str, Any]:
        told = {"if": self.what.text, "samples_per_s": self.predicted.rate, "bound": self.predicted.bound}
        told |= {"measured": self.measured, "error": self.error, "rounds": [list(one) for one in self.rounds]}
        return told if self.fits else told | {"fits": False}


class Checks:
    """recipe: as it was settled; told: hears what runs"""

    def __init__(self, recipe: Recipe, shards: Shards, steps: int, device: str, told: Callable[[str], None]):
        self.recipe, self.shards, self.steps, self.device, self.told = recipe, shards, steps, device, told
        each = [(one.bytes, one.samples) for found in sets.load(shards).manifests for one in found.splits[SPLIT]]
        self.replayed: dict[str, float] = {}  # on how many cores the run was, and how far its replay is from it
        self.bytes_each = sum(size for size, _ in each) / sum(count for _, count in each)

    def predictor(self, ran: Ran, whats: list[If]) -> Predictor:
        """Of a run; where the size of what is computed at once will change, another of half that is recorded too; where
        the cores will, another on one."""
        recipe, half, one = ran.recipe, None, None
        if machine.cores() > 1 and any("cores" in what.counts for what in whats):
            self.told("on one core")
            with on_cores(1):
                one = run(recipe, self.shards, self.steps, self.device)
        if recipe.parallel != "exact" and any({"batch", "micro_batch", "ranks"} & set(what.counts) for what in whats):
            self.told("half as many images at once")
            half = run(halved(recipe), self.shards, self.steps, self.device)
        return Predictor(ran, self.bytes_each, half, one)

    def all(self, ran: Ran, whats: list[If], rounds: int) -> list[Checked]:
        """What is predicted of a run, and in so many rounds checked."""
        if not whats:
            return []
        predictors = {}
        for placed in dict.fromkeys(what.decode for what in whats):
            own = [what for what in whats if what.decode == placed]
            predictors[placed] = self.predictor(self.ran(own[0]) if placed else ran, own)
        first = next(iter(predictors.values()))
        self.replayed = {"cores": first.cores, "off": first.off}
        return [self.check(what, predictors[what.decode], rounds) for what in whats]

    def ran(self, what: If) -> Ran:
        """A run without what is to be predicted."""
        if what.decode:
            self.told(f"decoding on the {what.decode.upper()}")
        return run(what.base(self.recipe), self.shards, self.steps, self.device)

    def check(self, what: If, predictor: Predictor, rounds: int) -> Checked:
        """Run it so many times, each time after a run as it is."""
        predicted, found = predictor.predict(what), []
        by_dali = bool(predictor.costs.by_dali) and not what.factors.keys().isdisjoint(OF_DALI)  # not slowed by a share
        if by_dali or not what.runs(machine.cores()):
            rounds = 0
        for number in range(rounds):
            self.told(f"{what.text}: round {number + 1} of {rounds}")
            before = self.predictor(self.ran(what), [what])
            try:
                found.append((before.predict(what).rate, self.measure(what, before)))
            except torch.OutOfMemoryError:
                return Checked(what, predicted, tuple(found), fits=False)
        return Checked(what, predicted, tuple(found))

    def measure(self, what: If, before: Predictor) -> float:
        """Samples/s of a run with it."""
        usual = {name: [] for name in OF_SAMPLES}
        for sample in before.costs.samples:
            for work in sample:
                usual.get(work.name, []).append(work.core_ns)
        core_ns = {name: (factor - 1) * mean(usual[name]) for name, factor in what.factors.items()}
        setup = before.changed(what)
        with slower(core_ns, dict(setup.delays_ns), setup.disk_ns), on_cores(what.counts.get("cores")):
            return account(run(what.recipe(self.recipe), self.shards, self.steps, self.device)).rate


def halved(recipe: Recipe) -> Recipe:
    """Half as many images in a step, and at once."""
    at_once = recipe.micro_batch and max(1, recipe.micro_batch // 2)
    return replace(recipe, batch_size=max(1, recipe.batch_size // 2), micro_batch=at_once)


@contextmanager
def on_cores(count: int | None) -> Iterator[None]:
    """Meanwhile this process has no more cores than so many."""
    if count is None:
        yield
        return
    there, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, sorted(there)[:count])
    torch.set_num_threads(max(1, round(threads * count / len(there))))
    try:
        yield
    finally:
        os.sched_setaffinity(0, there)
        torch.set_num_threads(threads)
