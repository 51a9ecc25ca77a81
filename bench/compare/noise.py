"""Whether two measurements differ by more than noise.

A row keeps the least, median and most of a figure over its rounds. Two differ by more than noise where these ranges do
not overlap. Of n and m rounds of the same thing that are exchangeable all of one lie above all of the other by chance
in 2 of C(n + m, n) cases: 1 in 10 for 3 and 3, 1 in 126 for 5 and 5 (the two-sided rank-sum test at its edge: Mann and
Whitney, Annals of Mathematical Statistics 1947). Where that is more than 1 in 10, too few rounds were measured to tell.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

RULE = (
    "More than noise: the ranges over the rounds do not overlap, which with so many rounds happens by chance at most "
    "once in ten times (3 and 3 rounds: 1 in 10; 5 and 5: 1 in 126). Rounds of one row share its minutes: on a machine "
    "that others use too, measure both in turns before believing a small difference."
)
MORE, WITHIN, FEW, BARE = "more than noise", "within noise", "too few rounds", "no spread kept"
MOST_CHANCE = 0.1


class Spread(NamedTuple):
    """One figure of one row. unit: None where the row says none; rounds: None where no spread was kept"""

    unit: str | None
    least: float
    median: float
    most: float
    rounds: int | None


def spreads(figures: dict[str, Any], rounds: int | None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Spread]:
    """All figures of a row by where they stand in it; what is no number is left out. rounds: that the row tells"""
    found: dict[tuple[str, ...], Spread] = {}
    for name, one in figures.items():
        here = (*path, name)
        if isinstance(one, int | float) and not isinstance(one, bool):
            found[here] = Spread(None, one, one, one, None)
        elif isinstance(one, dict) and "median" in one:
            kept = rounds if "least" in one else None
            middle = one["median"]
            found[here] = Spread(one.get("unit"), one.get("least", middle), middle, one.get("most", middle), kept)
        elif isinstance(one, dict):
            found |= spreads(one, rounds, here)
    return found


def chance(first: Spread, second: Spread) -> float | None:
    """That rounds of the same thing lie apart; None where a row does not tell its rounds."""
    if first.rounds is None or second.rounds is None:
        return None
    return 2 / comb(first.rounds + second.rounds, first.rounds)


def verdict(first: Spread, second: Spread) -> str:
    by_chance = chance(first, second)
    if by_chance is None:
        return BARE
    if by_chance > MOST_CHANCE * (1 + 1e-9):
        return FEW
    return MORE if first.most < second.least or second.most < first.least else WITHIN


def less(costs: Sequence[float], than: Sequence[float], at_most: float = 0.05) -> bool:
    """Whether `costs` lie below `than` by more than noise, both measured in turns: the rank-sum test by counting,
    one-sided. Rounds of the same thing give the answer yes at most once in 1 / `at_most` times; unlike ranges, one odd
    round of many does not hide a difference. Equal ones count against it."""
    ranked = sorted([(cost, 1) for cost in costs] + [(cost, 0) for cost in than])
    found = sum(rank for rank, (_, ours) in enumerate(ranked) if ours)
    sums = [sum(ranks) for ranks in combinations(range(len(ranked)), len(costs))]
    return sum(one <= found for one in sums) <= at_most * len(sums)
