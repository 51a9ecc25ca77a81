"""From candidates to a choice: halved group by group, and at the end the defaults against what came through, in turns.

The defaults stay unless others are faster by more than noise in those turns.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from david.bench.compare.noise import less
from david.bench.harness import Figure, Measured, take_turns
from david.bench.tune.candidates import Settings
from david.bench.tune.halving import Trial, halve
from david.pack.errors import many
from david.pack.tuned import words

Seconds = Callable[[Settings, float], float]  # settings, seconds to measure them for -> seconds of a sample
Told = Callable[[str], None]

ROUNDS, LEAST_ROUNDS = 7, 3  # turns at the end; the fewest that can tell anything from noise, where time is short
FINAL = 0.3  # of the time, for the turns at the end
MOST_PART = 0.5  # of the time, that goes to a group with others behind it
EACH_S, EACH_ROUNDS = 3.0, 2  # of every candidate, where all are measured
DEFAULTS, TUNED = "defaults", "tuned"
TAKEN, BEST = "taken, again", "best of all"  # where all are measured


@dataclass
class Found:
    """usual, chosen: settings, equal where the defaults stay; choices: the paths that there was a choice for; figures:
    samples/s in turns, by `DEFAULTS` and so on; tried: how many were measured beside the defaults; notes: what could
    not be, for people; took_s: all that; best: of all candidates, where each was measured, which took more"""

    usual: Settings
    chosen: Settings
    choices: frozenset[str]
    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)
    tried: int = 0
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0
    best: Settings | None = None

    def rate(self, name: str) -> float:
        """Median samples/s."""
        return self.figures[name]["rate"].median

    def open(self, settings: Settings) -> Settings:
        """Those that there was a choice for."""
        return {path: value for path, value in settings.items() if path in self.choices}

    @property
    def stays(self) -> bool:
        return self.chosen == self.usual

    @property
    def recovered(self) -> float | None:
        """samples/s of what was chosen, over those of the best of all, in turns with it."""
        return None if self.best is None else self.rate(TAKEN) / self.rate(BEST)

    def told(self, what: str) -> str:
        """In a sentence. what: is settled, such as `train`"""
        if self.stays:
            others = many(self.tried, "other")
            if not self.tried:
                return f"{what}: the defaults stay, for lack of time to try others."
            if TUNED not in self.figures:
                return f"{what}: the defaults stay, none of {others} was faster."
            ratio = self.rate(TUNED) / self.rate(DEFAULTS)
            return f"{what}: the defaults stay, the best of {others} made {ratio:.2f} times their samples/s."
        changed = {path: value for path, value in self.chosen.items() if value != self.usual[path]}
        said = f"{what}: {words(changed)}"
        if DEFAULTS not in self.figures:
            return f"{said}; the defaults can't run here."
        ratio = self.rate(TUNED) / self.rate(DEFAULTS)
        spread = [f"{figure.told()[0]} ({figure.told()[1]})" for figure in
                  (self.figures[name]["rate"] for name in (TUNED, DEFAULTS))]  # fmt: skip
        return f"{said} makes {ratio:.2f} times the defaults' samples/s: {spread[0]} of {spread[1]}."

    def told_beside(self) -> str:
        """The same of all candidates, where each was measured."""
        if self.best is None or self.recovered is None:
            return ""
        return (
            f" Of every candidate the best is {words(self.open(self.best))}; {self.recovered:.0%} of it is recovered."
        )


def find(
    groups: Sequence[Sequence[Settings]],
    measure: Seconds,
    seconds: float,
    told: Told,
    *,
    guess: Callable[[Settings], float] = lambda one: 0.0,
    clock: Callable[[], float] = time.monotonic,
    every: bool = False,
) -> Found:
    """The best of all groups together, each searched with the best of those before it.

    groups: of candidates for other settings each, see `candidates.py`; seconds: in all; guess: see `halve`; told: hears
    what is measured; every: measure each candidate of the last group too, beyond that time. Raises DavidError where
    nothing can be measured."""
    begin, searched_s = clock(), (1 - FINAL) * seconds
    usual = {path: value for group in groups for path, value in group[0].items()}
    chosen, waiting, trials, warm_s = usual, [group for group in groups if len(group) > 1], [], 0.0

    def measured(one: Settings, budget_s: float) -> float:
        told(words(one))
        return measure(one, budget_s)

    for place, group in enumerate(waiting):
        needs = [sum(max(1.0, guess(one)) for one in each) for each in waiting[place:]]
        part = min(MOST_PART, needs[0] / sum(needs)) if needs[1:] else 1.0
        share_s = part * (begin + searched_s - clock())
        search = halve([chosen | one for one in group], measured, share_s, clock, guess)
        base, warm_s = search.usual, search.usual.extra_s
        if search.came and (base.cost is None or (search.came.cost or 0.0) < base.cost):
            chosen = search.came.candidate
        trials += [*search.others, *([base] if base.failed else [])]
    choices = frozenset(path for group in waiting for one in group for path in one if one[path] != group[0][path])
    found = Found(usual, chosen, choices, tried=sum(one.cost is not None for one in trials), notes=notes(trials))
    broken = [one.candidate for one in trials if one.failed]
    contenders = {name: one for name, one in {DEFAULTS: usual, TUNED: chosen}.items()
                  if one not in broken and (name == DEFAULTS or one != usual)}  # fmt: skip
    left_s = (begin + seconds - clock()) / len(contenders)
    rounds = min(ROUNDS, max(LEAST_ROUNDS, int(left_s / warm_s) if warm_s else ROUNDS)) if len(contenders) > 1 else 1
    costs, found.figures = turns(contenders, measure, rounds, max(0.0, left_s / rounds - warm_s), told)
    if {DEFAULTS, TUNED} <= costs.keys() and not less(costs[TUNED], costs[DEFAULTS]):
        found.chosen = usual
    found.took_s = clock() - begin
    if every:
        found.best = best_of([chosen | one for one in groups[-1]], broken, measured)
        _, beside = turns({TAKEN: found.chosen, BEST: found.best}, measure, ROUNDS, EACH_S, told)
        found.figures |= beside
    return found


def turns(
    contenders: dict[str, Settings], measure: Seconds, rounds: int, turn_s: float, told: Told
) -> tuple[dict[str, list[float]], dict[str, dict[str, Figure]]]:
    """Costs of each over the rounds, and the same as samples/s."""
    costs: dict[str, list[float]] = {name: [] for name in contenders}

    def turn(name: str) -> Measured:
        costs[name].append(measure(contenders[name], turn_s))
        return {"rate": (1 / costs[name][-1], "samples/s")}

    return costs, take_turns({name: lambda name=name: turn(name) for name in contenders}, rounds, told)


def best_of(candidates: Sequence[Settings], broken: Sequence[Settings], measure: Seconds) -> Settings:
    """The one of least cost, by measuring each as long as any other, in turns."""
    named = {words(one): one for one in candidates if one not in broken}
    turns = {name: lambda one=one: {"cost": (measure(one, EACH_S), "s")} for name, one in named.items()}
    figures = take_turns(turns, EACH_ROUNDS)
    return named[min(figures, key=lambda name: figures[name]["cost"].median)]


def notes(trials: Sequence[Trial[Settings]]) -> list[str]:
    """What could not be measured, and why."""
    said = [f"{words(one.candidate)}: dropped: {one.failed}" for one in trials if one.failed]
    untried = sum(one.failed is None and one.cost is None for one in trials)
    if untried:
        said.append(f"{untried} of {len(trials)} candidates were not tried for lack of time; give more --minutes")
    return said
