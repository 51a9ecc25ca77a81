"""`david bench tune`: the search on made-up costs, and what may be tried at all."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smallest import SMALLEST

from david.bench.compare.noise import less
from david.bench.tune import candidates
from david.bench.tune.halving import halve
from david.bench.tune.search import BEST, DEFAULTS, EACH_ROUNDS, EACH_S, FINAL, ROUNDS, TAKEN, TUNED, find
from david.pack.errors import DavidError
from david.train import recipes
from david.train.recipe import override

TINY = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=4", "steps=1", "optim.warmup=1"])


class World:
    """A machine whose clock goes on only while something is measured. noise: each measurement is off by at most this
    share; extra_s: of each candidate, before its clock starts"""

    def __init__(self, costs: list[float], noise: float = 0.0, extra_s: float = 0.1, seed: int = 0):
        self.costs, self.noise, self.extra_s = costs, noise, extra_s
        self.now, self.random, self.asked = 0.0, random.Random(seed), []

    def clock(self) -> float:
        return self.now

    def measure(self, candidate: int, budget_s: float) -> float:
        self.asked.append(candidate)
        self.now += self.extra_s + budget_s
        return self.costs[candidate] * (1 + self.random.uniform(-self.noise, self.noise))

    def settings(self) -> list[dict[str, Any]]:
        return [{"n": number} for number in range(len(self.costs))]

    def found(self, seconds: float = 100.0, every: bool = False):
        return find(
            [self.settings()],
            lambda one, budget_s: self.measure(one["n"], budget_s),
            seconds,
            lambda text: None,
            clock=self.clock,
            every=every,
        )


COSTS = st.lists(st.floats(0.01, 10), min_size=2, max_size=40)


@given(COSTS)
def test_of_known_costs_the_best_comes_through(costs: list[float]) -> None:
    world = World(costs)
    came = halve(range(len(costs)), world.measure, 100, world.clock).came
    assert came is not None and costs[came.candidate] == min(costs[1:])


@given(COSTS, st.floats(0, 0.3), st.integers(0, 9))
def test_with_noise_what_comes_through_is_within_noise_of_the_best(costs: list[float], noise: float, seed: int) -> None:
    world = World(costs, noise, seed=seed)
    came = halve(range(len(costs)), world.measure, 100, world.clock).came
    assert came is not None
    assert costs[came.candidate] <= min(costs[1:]) * (1 + noise) / (1 - noise) * (1 + 1e-9)


@given(COSTS, st.floats(0, 0.3), st.integers(0, 9))
@settings(deadline=None)
def test_the_defaults_never_lose_to_what_is_not_faster_by_more_than_noise(
    costs: list[float], noise: float, seed: int
) -> None:
    found = World(costs, noise, seed=seed).found()
    if not found.stays:
        assert costs[found.chosen["n"]] < costs[0] * (1 + noise) / (1 - noise)
    if costs[0] * (1 + noise) < min(costs[1:]) * (1 - noise):
        assert found.stays and found.rate(DEFAULTS) > 0
    if min(costs[1:]) * ((1 + noise) / (1 - noise)) ** 2 < costs[0] * (1 - 1e-9):
        assert not found.stays


def test_the_defaults_win_ties() -> None:
    found = World([1.0] * 9).found()
    assert found.stays and found.told("train") == "train: the defaults stay, none of 8 others was faster."


def test_what_was_lucky_in_the_search_has_to_be_faster_again_in_turns() -> None:
    asked: list[int] = []

    def lucky_once(one: dict[str, Any], budget_s: float) -> float:
        asked.append(one["n"])
        return 0.5 if one["n"] == 1 and asked.count(1) == 1 else 1.0

    found = find([[{"n": 0}, {"n": 1}]], lucky_once, 10, lambda text: None)
    assert found.stays and set(found.figures) == {DEFAULTS, TUNED}
    assert found.told("train") == "train: the defaults stay, the best of 1 other made 1.00 times their samples/s."


@given(COSTS, st.floats(0, 3), st.floats(1, 300))
def test_the_time_is_kept(costs: list[float], extra_s: float, seconds: float) -> None:
    """But for one measurement that had to be, and for those at the end, three for each of two."""
    world = World(costs, extra_s=extra_s)
    halve(range(len(costs)), world.measure, seconds, world.clock)
    assert world.now <= (seconds + extra_s) * 1.000001 and world.asked[0] == 0
    world = World(costs, extra_s=extra_s)
    world.found(seconds)
    assert world.now <= (seconds + 7 * extra_s) * 1.000001


def test_where_time_is_short_the_most_promising_are_tried_and_the_rest_is_told() -> None:
    world = World([1.0, 0.5, *[0.1] * 30], extra_s=2.0)
    found = world.found(20)
    assert world.asked[:3] == [0, 1, 2] and len(set(world.asked)) < 9
    assert found.notes[-1].endswith("candidates were not tried for lack of time; give more --minutes")
    nothing = World([1.0, 0.5], extra_s=9.0).found(5)
    assert nothing.told("train") == "train: the defaults stay, for lack of time to try others."


def test_what_can_not_run_is_dropped_and_told() -> None:
    def measure(one: int, budget_s: float) -> float:
        if one == 2:
            raise MemoryError("no room")
        if one == 3:
            raise DavidError("data.decode: refused")
        return [1.0, 0.5, 0, 0, 0.7][one]

    def of(one: dict[str, Any], budget_s: float) -> float:
        return measure(one["n"], budget_s)

    world = World([0] * 5)
    found = find([world.settings()], of, 10, lambda text: None)
    assert found.chosen == {"n": 1} and found.tried == 2
    assert found.notes == ["n=2: dropped: MemoryError: no room", "n=3: dropped: data.decode: refused"]

    def only_the_last(one: dict[str, Any], budget_s: float) -> float:
        if one["n"] < 4:
            raise MemoryError("no room")
        return 1.0

    found = find([world.settings()], only_the_last, 10, lambda text: None)
    assert found.chosen == {"n": 4} and set(found.figures) == {TUNED}
    assert found.told("train") == "train: n=4; the defaults can't run here."
    with pytest.raises(DavidError, match="nothing can be measured: MemoryError: no room"):
        find([world.settings()[:4]], only_the_last, 10, lambda text: None)


def test_groups_are_searched_one_after_the_other_and_told_beside_the_best_of_all() -> None:
    def cost(one: dict[str, Any], budget_s: float) -> float:
        return (3 - one["a"]) * (5 - one["b"])

    groups = [[{"a": n} for n in range(3)], [{"b": n} for n in range(5)], [{"c": 0}]]
    told: list[str] = []
    found = find(groups, cost, 10, told.append)
    assert found.chosen == {"a": 2, "b": 4, "c": 0} and found.usual == {"a": 0, "b": 0, "c": 0}
    assert found.open(found.chosen) == {"a": 2, "b": 4} and "a=2, b=4, c=0" in told
    assert "train: a=2, b=4 makes 15.00 times the defaults' samples/s" in found.told("train")
    world = World([1.0, 0.9, 0.5, 0.8])
    all_of_them = world.found(every=True)
    assert all_of_them.best == {"n": 2} and all_of_them.recovered == pytest.approx(1)
    assert set(all_of_them.figures) == {DEFAULTS, TUNED, TAKEN, BEST} and all_of_them.took_s <= 100 + 10 * 0.1
    assert world.now <= 101 + (4 * EACH_ROUNDS + 2 * ROUNDS) * (EACH_S + 0.1)


@pytest.mark.parametrize(("guess_s", "part"), [(0.0, 2 / 22), (90.0, 0.5)])
def test_a_group_has_the_time_that_its_candidates_need_and_half_at_most(guess_s: float, part: float) -> None:
    world, began = World([1.0], extra_s=0.0), []

    def measure(one: dict[str, Any], budget_s: float) -> float:
        if one.get("b") == 1 and not began:
            began.append(world.now)
        return world.measure(0, budget_s)

    groups = [[{"a": n} for n in range(2)], [{"b": n} for n in range(20)]]
    find(groups, measure, 100, lambda text: None, guess=lambda one: guess_s if one.get("a") else 0.0, clock=world.clock)
    searched_s = 100 * (1 - FINAL)
    assert began[0] <= part * searched_s + searched_s / 20


def test_less_is_what_counting_ranks_says() -> None:
    assert less([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) and not less([6, 7, 8, 9, 10], [1, 2, 3, 4, 5])
    assert less([1, 2, 3, 4, 7.5], [6, 7, 8, 9, 10])  # one odd round
    assert not less([1, 1, 1], [1, 1, 1]) and not less([1, 2], [3, 4])  # too few to tell
    drawn = random.Random(0)
    yes = sum(less([drawn.random() for _ in range(5)], [drawn.random() for _ in range(5)]) for _ in range(2000))
    assert yes / 2000 < 0.065


def paths_of(found: list[dict[str, Any]], path: str) -> set[Any]:
    return {one[path] for one in found}


def test_threads_and_prefetch_are_tried_around_the_cores_the_likely_first() -> None:
    data = override(TINY, ["data.threads=1", "data.prefetch=1"])
    usual, *others = candidates.of_feeding(data, 16, ("cpu",))
    assert usual == {"data.threads": 1, "data.prefetch": 1, "data.decode": "cpu"} and usual not in others
    assert others[0] == {"data.threads": 16, "data.prefetch": 2, "data.decode": "cpu"}
    assert paths_of(others, "data.threads") == {4, 8, 12, 16, 24, 32, 64}
    assert paths_of(others, "data.prefetch") == {1, 2, 4, 8}
    of_own = candidates.of_feeding(override(TINY, ["data.threads=none"]), 16, ("cpu", "gpu"))
    assert {"data.threads": 16, "data.prefetch": 2, "data.decode": "cpu"} not in of_own  # what none means
    assert {"data.threads": 16, "data.prefetch": 2, "data.decode": "gpu"} in of_own
    assert paths_of(candidates.of_packing(2), "workers") == {1, 2, 3, 4}
    assert candidates.of_packing(2)[0] == {"workers": 2}


def test_what_may_change_bits_or_draws_is_not_tried() -> None:
    def sizes(recipe_of: list[str], most: int = 8, on_gpu: bool = False, draws: bool = False) -> list[tuple[Any, str]]:
        found = candidates.of_computing(override(TINY, recipe_of), 8, most, on_gpu, draws)
        return [(one["micro_batch"], one["compile"]) for one in found]

    ddp = ["parallel=ddp", "batch_size=8"]
    assert sizes(["parallel=exact"]) == [(None, "off")] == sizes(ddp, draws=True)
    assert sizes(ddp) == [(None, "off"), (4, "off"), (2, "off"), (1, "off")]
    assert sizes([*ddp, "micro_batch=2"]) == [(2, "off"), (None, "off"), (4, "off"), (1, "off")]
    assert sizes([*ddp, "micro_batch=2"], most=4) == [(2, "off"), (4, "off"), (1, "off")]
    assert sizes([*ddp, "micro_batch=8"])[0] == (8, "off") and (None, "off") not in sizes([*ddp, "micro_batch=8"])[1:]
    assert {mode for _, mode in sizes(ddp, on_gpu=True)} == {"off", "default", "reduce-overhead"}
    assert {mode for _, mode in sizes([*ddp, "compile=default"], on_gpu=False)} == {"default"}
