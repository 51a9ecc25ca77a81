"""Which shard a cache is brought next, and which gives way: in the order of need, as far as that can be foreseen."""

import threading
from typing import Any

import numpy as np
import pytest

from david.pipeline.reading import prefetch, wanted
from david.pipeline.reading.foresight import Foresight
from david.pipeline.reading.prefetch import Prefetch
from david.pipeline.reading.wanted import Wanted


class Bringing:
    """A Prefetch of one thread, and what it has brought whenever it has nothing to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *arguments: Any):
        self.brought: list[int] = []
        self._idle = idle = threading.Event()

        class Condition(threading.Condition):
            def wait(self, timeout: float | None = None) -> bool:
                idle.set()
                return super().wait(timeout)

        with monkeypatch.context() as patched:
            patched.setattr(prefetch, "THREADS", 1)
            patched.setattr(threading, "Condition", Condition)
            self.ahead = Prefetch(Wanted(*arguments), self.brought.append)

    def settled(self, reached: int | None = None) -> list[int]:
        if reached is not None:
            self._idle.clear()
            self.ahead.reached(reached)
        assert self._idle.wait(50)
        return self.brought


def test_shards_are_brought_in_the_order_of_need_and_no_further_than_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needs = [{0}, {0, 1}, {1}, {2}, {2, 3}, {4}, {5}, {6}]
    bringing = Bringing(monkeypatch, dict.fromkeys(range(7), 10), lambda step: needs[step % 8], 0, 30)
    assert bringing.settled() == [0, 1, 2]
    assert bringing.settled(2) == [0, 1, 2, 3]
    assert bringing.settled(3) == [0, 1, 2, 3, 4]
    assert bringing.settled(7) == [0, 1, 2, 3, 4, 6, 0, 1]
    bringing.ahead.close()


def test_of_a_window_that_has_no_room_as_much_is_brought_as_has(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [[0, 1], [0, 1], [2, 3], [2, 3]]
    bringing = Bringing(monkeypatch, dict.fromkeys(range(4), 10), lambda step: needs[step % 4], 0, 30)
    assert bringing.settled() == [0, 1, 2]
    assert bringing.settled(2) == [0, 1, 2, 3, 0]
    bringing.ahead.close()


def test_no_more_than_a_bounded_number_of_steps_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "MOST_AHEAD", 3)
    bringing = Bringing(monkeypatch, dict.fromkeys(range(20), 10), lambda step: {step}, 5, 200)
    assert bringing.settled() == [5, 6, 7, 8]
    assert bringing.settled(7) == [5, 6, 7, 8, 9, 10]
    bringing.ahead.close()


@pytest.mark.parametrize("seed", range(5))
def test_the_next_use_of_a_shard_is_foreseen_as_a_search_finds_it(seed: int) -> None:
    chance = np.random.default_rng(seed)
    needs = [set(chance.choice(6, chance.integers(0, 4)).tolist()) for _ in range(40)] + [set(range(6))]
    foresight = Foresight(range(6), lambda step: needs[min(step, 40)], 0)
    for present in sorted(chance.integers(0, 41, 10).tolist()):
        foresight.reached(present)
        foresight.look()
        for shard in range(6):
            assert foresight.next_use(shard) == next(step for step in range(present, 41) if shard in needs[step])


def test_what_is_needed_furthest_in_the_future_gives_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [[0], [0], [1], [2], [3], [4], [5], [0], [1], [4]]
    bringing = Bringing(monkeypatch, dict.fromkeys(range(7), 10), lambda step: needs[step % 10], 0, 20)
    monkeypatch.setattr(wanted, "BEHIND", 2)
    for step in range(1, 6):
        bringing.settled(step)
    assert bringing.brought[-2:] == [4, 5]
    # 6 is never needed; 1 and 0 were long ago, 1 is needed later; 2 and 3 were just now, 3 later; 5 later than 4
    assert sorted(range(7), key=bringing.ahead.place) == [6, 1, 0, 3, 2, 5, 4]
    bringing.ahead.close()
