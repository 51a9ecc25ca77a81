"""What a run would have been with something else: cores and threads in virtual time, and how changes are written."""

from dataclasses import replace
from typing import Any

import pytest
from played import LIKE, MS, RECIPE, played

from david.bench.explain import ifs
from david.bench.explain.check import halved
from david.bench.explain.cores import Core, Disk, Machine, Sleep
from david.bench.explain.costs import Costs, Work
from david.bench.explain.predict import Predictor, at_once, on_device, on_host
from david.pack.errors import DavidError


def clocked(cores: float, *threads: list[Any]) -> list[float]:
    """When each of these threads is over, on so many cores."""
    here, over = Machine(cores), {}

    def thread(number: int, wants: list[Any]) -> Any:
        yield from wants
        over[number] = here.now

    for number, wants in enumerate(threads):
        here.start(thread(number, wants))
    here.run(lambda: len(over) == len(threads))
    return [over[number] for number in range(len(threads))]


def test_cores_are_shared_and_a_disk_serves_one_at_a_time() -> None:
    assert clocked(2, [Core(10)], [Core(10)]) == [10, 10]
    assert clocked(1, [Core(10)], [Core(10)]) == [20, 20]
    assert clocked(1, [Core(10)], [Core(30)]) == [20, 40]
    assert clocked(0.5, [Core(10)]) == [20]
    assert clocked(1, [Sleep(10), Core(5)], [Core(10)]) == [15, 10]
    assert clocked(2, [Core(10, 2)], [Core(10)]) == [15, 15]  # three thirds of two cores
    assert clocked(1, [Disk(10)], [Disk(10)], [Sleep(10)]) == [10, 20, 10]


def test_a_replay_has_the_rate_that_follows_by_hand() -> None:
    """A batch of 4 takes a thread 16 ms, a step 7."""
    sample, step = {"read": 1.0, "decode": 3.0}, {"forward": 2.0, "backward": 4.0, "optimiser": 1.0}

    def rate(**how: Any) -> float:
        return played(sample, step, **how).rate

    assert rate() == pytest.approx(4 / 0.016)
    assert rate(threads=2) == pytest.approx(4 / 0.008)
    assert rate(threads=4) == pytest.approx(4 / 0.007)  # the step bounds it
    assert rate(threads=4, cores=1) == pytest.approx(4 / 0.023)  # the one core does
    assert rate(threads=4, batch=8, cores=1) == pytest.approx(8 / 0.039)
    assert rate(threads=4, cores=1, crowded=(0.5, 1.0)) == pytest.approx(4 / 0.0115)
    assert rate(threads=4, factors=(("forward", 0.5),)) == pytest.approx(4 / 0.006)
    assert rate(threads=2, delays_ns=(("read", 2.0 * MS),)) == pytest.approx(4 / 0.012)
    assert rate(threads=4, disk_ns=5.0 * MS) == pytest.approx(4 / 0.020)  # one sample in 5 ms
    assert rate(threads=4, sum_ns=3.0 * MS, hidden=True) == pytest.approx(4 / 0.007)
    assert rate(threads=4, sum_ns=5.0 * MS, hidden=True) == pytest.approx(4 / 0.008)
    assert rate(threads=1, prefetch=1, in_flight=1) == pytest.approx(4 / 0.016)


@pytest.mark.parametrize(("micro_batch", "wanted"), [(4, (32, 52)), (1, (40, 80)), (None, (32, 52))])
def test_what_grows_with_images_at_once_is_told_by_half_as_many(
    micro_batch: int | None, wanted: tuple[float, float]
) -> None:
    """2 ms a part and 3 an image: 8 images two at once, 16 eight at once. Of one at once nothing can be told apart. A
    GPU takes that long, and the host 1 ms to ask for a part."""
    recipe = replace(RECIPE, batch_size=8, micro_batch=micro_batch, parallel="ddp")

    def spent_ms(recipe: Any) -> float:
        return 2 * -(-recipe.batch_size // at_once(recipe)) + 3 * recipe.batch_size

    def costs(ran: Any) -> Costs:
        nothing = Work("batch", 0)
        asks_ms = -(-ran.recipe.batch_size // at_once(ran.recipe))
        return Costs([], [[Work("forward", MS * asks_ms, 0, MS * spent_ms(ran.recipe))]], [], nothing, nothing)

    predictor = Predictor.__new__(Predictor)
    predictor.ran, predictor.half = LIKE._replace(recipe=recipe), LIKE._replace(recipe=halved(recipe))
    predictor.costs, predictor.half_costs = costs(predictor.ran), costs(predictor.half)
    found = [predictor._sizes(*sizes, on_device)["forward"] * spent_ms(recipe) for sizes in ((2, 8), (8, 16))]
    assert found == pytest.approx(wanted)
    if micro_batch != 1:
        parts = 8 / at_once(recipe)
        asked = [predictor._sizes(*sizes, on_host)["forward"] for sizes in ((2, 8), (8, 16))]
        assert asked == pytest.approx([4 / parts, 2 / parts])


@pytest.mark.parametrize(
    "text",
    [
        *("", "threads", "threads=x2", "threads=0", "threads=1.5", "batch=+4", "storage=0", "nope=1", "a=1,"),
        *("decode=2", "decode=tpu", "read=gpu"),
    ],
)
def test_what_is_no_change_is_refused_with_what_there_is(text: str) -> None:
    with pytest.raises(DavidError, match=r"is no change; write NAME=N for threads"):
        ifs.parse([text])


def test_a_name_that_is_there_twice_is_refused() -> None:
    for text in ("threads=2,threads=3", "decode=x2,decode=x3", "storage=1,storage=2", "decode=gpu,decode=cpu"):
        with pytest.raises(DavidError, match="is there twice"):
            ifs.parse([text])
    (one,) = ifs.parse(["decode=gpu,decode=x2,decode=+3"])
    assert (one.decode, one.factors, one.delays_ms) == ("gpu", {"decode": 2.0}, {"decode": 3.0})


def test_a_change_says_what_it_is_and_whether_it_can_be_run() -> None:
    (one,) = ifs.parse(["threads=4, decode=x2,augment=+0.5"])
    assert (one.counts, one.factors, one.delays_ms) == ({"threads": 4}, {"decode": 2.0}, {"augment": 0.5})
    can = {
        "threads=9": True,
        "cores=1": True,
        "cores=3": False,
        "decode=x0.5": False,
        "forward=x2": False,
        "ranks=2": False,
    }
    assert {text: ifs.parse([text])[0].runs(2) for text in can} == can
    with pytest.raises(DavidError, match="can't be shared by 3 ranks"):
        ifs.parse(["ranks=3"])[0].recipe(RECIPE)
    with pytest.raises(DavidError, match="parallel=exact computes one sample at a time"):
        ifs.parse(["micro_batch=2"])[0].recipe(RECIPE)
