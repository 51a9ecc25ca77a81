"""Successive halving: the best of many settings within a given time, all measured a little and the better half more.

Karnin, Koren and Somekh, "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013: the time is shared out evenly
over log2(n) rungs, and in each over those that are left. Here the first candidate, what would be without any search, is
measured on every rung and never left out: what it is held against had the same minutes.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from david.bench.child import first_line
from david.pack.errors import DavidError

Candidate = TypeVar("Candidate")
Measure = Callable[[Candidate, float], float]

FIRST_RUNG = 0.75  # of the time, after which candidates that nobody has measured stay so


@dataclass
class Trial(Generic[Candidate]):
    """What became of a candidate. cost: by its last, longest measurement, None before; failed: why it can't be;
    extra_s: what a measurement takes beyond the seconds that it is given, to begin and to warm up: as the last one did,
    before that as was guessed"""

    candidate: Candidate
    extra_s: float
    cost: float | None = None
    failed: str | None = None

    def take(self, measure: Measure[Candidate], budget_s: float, clock: Callable[[], float]) -> None:
        begin = clock()
        try:
            self.cost = measure(self.candidate, budget_s)
        except Exception as error:  # of memory, compilers, drivers, settings that are refused: they share no base
            self.failed, self.cost = first_line(error), None
        self.extra_s = max(0.0, clock() - begin - budget_s)


@dataclass
class Search(Generic[Candidate]):
    """usual: what would be without a search; others: all else, in the order given; came: which of them came through,
    None where none can be measured"""

    usual: Trial[Candidate]
    others: list[Trial[Candidate]]
    came: Trial[Candidate] | None = None


def halve(
    candidates: Sequence[Candidate],
    measure: Measure[Candidate],
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
    guess: Callable[[Candidate], float] = lambda candidate: 0.0,
) -> Search[Candidate]:
    """Search `candidates`: the usual one first, then the others, the most promising first, for where the time ends
    early the last are not tried.

    measure: takes a candidate and seconds to measure it for, and returns its cost, least is best. It may take longer,
        by what it needs to begin, which is counted. What it raises drops the candidate, and is kept
    seconds: in all. No measurement begins that would not end by then, as far as those before tell how long it takes;
        guess: of a candidate, for its first, what it takes to begin, where that is more than the usual one's

    Raises DavidError where nothing can be measured, with what the usual one's said."""
    begin, trials = clock(), [Trial(one, guess(one)) for one in candidates]
    usual, alive = trials[0], trials[1:]
    rungs = max(1, math.ceil(math.log2(len(alive)))) if alive else 1
    for rung in range(rungs):
        now = clock()
        ends = now + (begin + seconds - now) / (rungs - rung)
        last = begin + seconds * (1 if rung else FIRST_RUNG)
        tried = [usual, *alive] if usual.failed is None else alive
        for place, trial in enumerate(tried):
            now, extra_s = clock(), trial.extra_s if rung else max(trial.extra_s, usual.extra_s)
            if now + extra_s <= last or (trial is usual and not rung):
                share_s = (ends - now) / (len(tried) - place)
                trial.take(measure, max(0.0, min(share_s, last - now) - extra_s), clock)
        alive = sorted((one for one in alive if one.cost is not None), key=lambda one: one.cost or 0.0)
        alive = alive[: math.ceil(len(alive) / 2)]
    if usual.cost is None and not alive:
        raise DavidError(f"nothing can be measured: {usual.failed}")
    return Search(usual, trials[1:], alive[0] if alive else None)
