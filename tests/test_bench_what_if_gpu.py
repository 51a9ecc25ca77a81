"""What a run on a GPU would have been: host, device and copies side by side, held against recurrences.

A step's batch is made by one thread, crosses to the device, and is computed there by work that the trainer's thread
only asks for. When each thing ends follows from when others did, in one line each (`lived`). From the record of such a
run the replay finds the same, and what it would have been with something else: of as many steps, as where host and
device take nearly as long, a run needs long to settle.
"""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from played import LIKE, MS, RECIPE

from david.bench.explain import check, ifs, tracks
from david.bench.explain.account import account
from david.bench.explain.costs import Costs, Work, of
from david.bench.explain.predict import Predictor
from david.bench.explain.replay import FIRST, STEPS, Setup, replay
from david.bench.explain.run import Ran
from david.bench.explain.show import numbers
from david.pack import machine
from david.pipeline import trace
from david.pipeline.trace import Record, Span
from david.train import loop

TRAINER, LOADER, READER = 1, 2, 3
US = 1000
GPU = replace(RECIPE, parallel="ddp", batch_size=4)
ASKED = ("forward", "losses", "backward", "optimiser")  # in this order; the host looks at the step before behind three


@dataclass(frozen=True)
class Took:
    """Microseconds. sample: of the one thread that makes samples; give: of the loader for a batch; copy: of a batch
    host, device: of each of `ASKED`; rest: of the trainer, behind a step; beside: of device work for one more image"""

    sample: int = 100
    give: int = 50
    copy: int = 100
    host: tuple[int, ...] = (100, 50, 150, 50)
    device: tuple[int, ...] = (1000, 200, 2000, 300)
    rest: int = 20

    def of(self, batch: int) -> "Took":
        """The same with another batch: the device works for each image but to change the weights, the host for none."""
        copy, *grown = (one * batch // GPU.batch_size for one in (self.copy, *self.device[:3]))
        return replace(self, copy=copy, device=(*grown, self.device[3]))


@dataclass
class Life:
    """When what ended, in ns, by number of batch or step: samples made, batches given, copies over, batches taken, the
    trainer's steps, the device's; and the spans of all that"""

    made: list[int] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    crossed: list[int] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def add(self, thread: int, name: str, start: int, end: int, cpu: int = -1, of: Any = "loader", n: int = -1) -> None:
        self.spans.append(Span(thread, name, start, end, cpu, 0, of, n))


def at(ends: list[int], number: int) -> int:
    """When something ended; 0 where there is no such."""
    return ends[number] if number >= 0 else 0


def lived(took: Took, batch: int = 4, prefetch: int = 2, steps: int = STEPS) -> Life:
    """A run by recurrences: two batches are under way in the loader, and two cross at the most."""
    life, asked, device = Life(), [0], 0
    for n in range(steps):
        begin = max(at(life.given, n - 1), at(life.taken, n - prefetch))
        life.add(LOADER, "hold", at(life.given, n - 1), begin)
        for number in range(len(asked) - 1, n + 2):  # batches that the loader asks for now
            life.add(LOADER, "submit", begin, begin, n=number)
            asked[number:] = [begin, 0]
        while len(life.made) <= n:
            start = max(at(life.made, len(life.made) - 1), asked[len(life.made)])
            for _ in range(batch):
                end = start + took.sample * US
                life.add(READER, "decode", start, end)
                life.add(READER, "sample", start, end, end - start, n=len(life.made))
                start = end
            life.made.append(start)
        prepared = max(begin, life.made[n])
        life.add(LOADER, "prepare", begin, prepared)
        crossing = max(prepared, at(life.crossed, n - 2))
        life.add(LOADER, "crossing", prepared, crossing, crossing - prepared)
        life.given.append(crossing + took.give * US)
        life.add(LOADER, "batch", begin, life.given[n], life.given[n] - prepared)
        crosses = max(at(life.crossed, n - 1), life.given[n])
        life.crossed.append(crosses + took.copy * US)
        life.add(tracks.COPIES, "copy", crosses, life.crossed[n], of=life.given[n])

        life.taken.append(max(at(life.over, n - 1), life.given[n]))
        life.add(TRAINER, "wait", at(life.over, n - 1), life.taken[n])
        device, host = step(life, took, device, n)
        life.computed.append(device)
        life.over.append(host + took.rest * US)
        life.add(TRAINER, "step", life.taken[n], host, host - life.taken[n])
        life.add(TRAINER, "log", host, life.over[n], took.rest * US)
    return life


def step(life: Life, took: Took, device: int, n: int) -> tuple[int, int]:
    """When the device is through with a step, and the host with asking for it. `losses` goes on around `forward`."""
    host, began = life.taken[n], (0, 0)
    for name, asks, takes in zip(ASKED, took.host, took.device, strict=True):
        if name == "optimiser":
            looked = max(host + 1, at(life.computed, n - 1))  # to look takes time, too
            life.add(TRAINER, "synchronise", host, looked, looked - host)
            life.add(TRAINER, "log", host, looked, looked - host)
            host = looked
        start, end = host, host + asks * US
        begins = max(start, device, life.crossed[n])
        device = max(begins + takes * US, end)
        if name == "forward":
            began = start, begins
        whole = began if name == "losses" else (start, begins)
        life.add(TRAINER, name, whole[0], end, end - whole[0])
        life.add(tracks.DEVICE, name, whole[1], device, of=whole[0])
        host = end
    return device, host


def ran(life: Life, prefetch: int = 2, recipe: Any = GPU) -> Ran:
    made = Record()
    made.thread = TRAINER
    made.spans = [one for one in life.spans if one.thread not in (tracks.DEVICE, tracks.COPIES)]
    queued = [one for one in life.spans if one.thread in (tracks.DEVICE, tracks.COPIES)]
    recipe = replace(recipe, data=replace(recipe.data, prefetch=prefetch, threads=1))
    return Ran(recipe, tracks.of(made, prefetch, queued), FIRST, 0.0, 0.0)


def rate(took: Took, **how: int) -> float:
    """Samples/s behind the first steps, until the trainer waits for the last batch that counts."""
    life = lived(took, **how)
    return 1e9 * how.get("batch", 4) * (STEPS - FIRST - 1) / (life.over[STEPS - 2] - life.over[FIRST - 1])


def predictor(took: Took, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.setattr(machine, "cores", lambda: 16)
    half = ran(lived(took.of(2), batch=2), recipe=replace(GPU, batch_size=2))
    return Predictor(ran(lived(took)), 1e6, half)


def test_what_host_and_device_took_is_told_apart() -> None:
    """Of the host without its waits for the device, in which it is on a core all the time."""
    took = Took()
    found = of(ran(lived(took)))
    assert found.copies and set(found.copies) == {took.copy * US}
    assert found.give.core_ns == pytest.approx(took.give * US) and not found.by_dali
    assert {work.core_ns for sample in found.samples for work in sample} == {took.sample * US}
    for works in found.steps:
        assert [work.name for work in works if work.core_ns or work.name == "synchronise"] == [
            *("forward", "losses", "backward", "synchronise", "optimiser", "log")
        ]
        told = {work.name: work for work in works}
        for name, host, device in zip(ASKED, took.host, took.device, strict=True):
            assert told[name] == Work(name, host * US, 0.0, device * US)
        assert told["synchronise"].core_ns == 0 and told["log"].core_ns == pytest.approx(took.rest * US)


def test_the_path_of_a_run_goes_through_what_bounds_it() -> None:
    def shares(took: Took) -> dict[str, float]:
        return account(ran(lived(took))).shares

    device = shares(Took())
    assert device == pytest.approx(
        {"forward": 1000 / 3500, "losses": 200 / 3500, "backward": 2000 / 3500, "optimiser": 300 / 3500}, abs=1e-3
    )
    assert shares(Took(sample=2000)) == pytest.approx({"decode": 1.0}, abs=0.01)
    assert shares(Took(copy=5000))["copy"] > 0.99
    asking = shares(Took(host=(2000, 500, 2500, 500)))
    assert asking["forward"] == pytest.approx(2000 / 5520, abs=0.01) and asking["log"] < 0.01


def test_what_training_asks_a_gpu_for_is_found_in_its_record(figures: Path, tmp_path: Path) -> None:
    """With a clock in the place of events: as if a GPU did all at the moment at which it is asked."""
    recipe = replace(GPU, batch_size=2, micro_batch=1, log_every=1)
    with trace.recording(lambda _: time.perf_counter_ns()) as made:
        loop.train(recipe, figures, tmp_path / "run", stop=8, device="cpu", speaks=False)
    queued = tracks.on_device(made.queued, 0, lambda event: event / 1e6)
    found = of(Ran(recipe, tracks.of(made, recipe.data.prefetch, queued), 4, 0.0, 0.0))
    assert len(found.steps) == 3 and not found.images
    for works in found.steps:
        asked = [work.name for work in works if work.device_ns]
        assert {*asked} == {*ASKED}
        assert (asked.count("forward"), asked.count("backward"), asked.count("optimiser")) == (2, 2, 1)
        assert not [work for work in works if work.device_ns and work.aside_ns]


def test_dali_is_waited_for_in_the_loaders_own_thread() -> None:
    """3 batches are under way: one is read while DALI has two. It takes 6 ms a batch."""
    nothing = Work("batch", 0)

    def played(read_ms: float, **how: Any) -> float:
        by_dali = [[Work("decode", 0, 5 * MS), Work("augment", 0, MS)]]
        costs = Costs([[Work("read", read_ms * MS)]], [[Work("log", 1)]], [], nothing, nothing, by_dali=by_dali)
        setup = replace(Setup(cores=8, threads=1, prefetch=2, batch=4, in_flight=3, decoding=2), **how)
        return account(replay(costs, setup, LIKE)).rate

    assert played(0.1) == pytest.approx(4 / 0.006)
    assert played(0.1, factors=(("decode", 0.5),)) == pytest.approx(4 / 0.0035)
    assert played(2) == pytest.approx(4 / 0.008)
    assert played(2, in_flight=1, decoding=1) == pytest.approx(4 / 0.014)


def test_what_the_loaders_own_thread_took_is_told_from_its_waits() -> None:
    """Of 20 ms of a batch 3 are for samples, 13 for DALI, of which it was on a core for 5; 4 are its own, 2 before."""
    made = Record()
    made.thread = TRAINER
    for n in range(4):
        begin = 20 * n
        for name, start, end, cpu in (
            *(("hold", 0, 0, -1), ("prepare", 2, 5, -1), ("decode", 6, 14, -1), ("augment", 14, 19, -1)),
            ("batch", 0, 20, 9),
        ):
            cpu_ns = MS * cpu if cpu > 0 else -1
            made.spans.append(Span(LOADER, name, (begin + start) * MS, (begin + end) * MS, cpu_ns, 0, "loader"))
        made.spans.append(Span(TRAINER, "wait", begin * MS, (begin + 20) * MS, of="loader"))
        made.spans.append(Span(TRAINER, "log", (begin + 20) * MS - 1, (begin + 20) * MS, 1, 0))
    found = of(Ran(GPU, tracks.of(made, 2), 0, 0.0, 0.0))
    assert (found.ask.core_ns, found.give.core_ns) == (2 * MS, 2 * MS)
    assert found.by_dali[0] == [Work("decode", 0, 8 * MS), Work("augment", 0, 5 * MS)]


def test_sums_over_ranks_go_on_beside_the_devices_last_backward() -> None:
    nothing, looks = Work("batch", 0), Work(tracks.SYNCHRONISE, 0)
    step = [*[Work("backward", MS, 0, 4 * MS)] * 2, looks, Work("optimiser", MS, 0, MS)]

    def played(sum_ms: float) -> float:
        setup = Setup(cores=8, threads=1, prefetch=2, batch=4, sum_ns=sum_ms * MS, hidden=True)
        return account(replay(Costs([[Work("read", 1)]], [step], [], nothing, nothing), setup, LIKE)).rate

    assert played(0) == played(4) == pytest.approx(4 / 0.009)
    assert played(7) == pytest.approx(4 / 0.012)


def test_what_does_not_fit_into_the_devices_memory_is_told(figures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life = ran(lived(Took()))

    def run(recipe: Any, *_: Any) -> Ran:
        if recipe.batch_size > GPU.batch_size:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return life._replace(recipe=recipe)

    monkeypatch.setattr(check, "run", run)
    checks = check.Checks(GPU, figures, STEPS, "cpu", lambda _: None)
    fits, too_large = checks.all(life, ifs.parse(["prefetch=1", "batch=8"]), 1)
    assert fits.fits and len(fits.rounds) == 1 and "fits" not in fits.as_json()
    assert too_large.as_json() | {"samples_per_s": 0, "bound": ""} == {
        **{"if": "batch=8", "samples_per_s": 0, "bound": "", "measured": None, "error": None, "rounds": []},
        "fits": False,
    }
    assert numbers(too_large)[1:] == ("does not fit", "")


@pytest.mark.parametrize(
    ("took", "bound"),
    [
        *((Took(), "backward"), (Took(sample=2000), "decode"), (Took(copy=5000), "copy")),
        (Took(host=(1000, 50, 200, 4000)), "optimiser"),
    ],
)
def test_what_bounds_a_replay_is_what_bounds_the_run(took: Took, bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 16)
    shares = account(ran(lived(took))).shares
    assert max(shares, key=shares.__getitem__) == bound
    (as_it_is,) = ifs.parse(["threads=1"])
    assert Predictor(ran(lived(took)), 1e6).predict(as_it_is).bound == bound


no_shrinking = [Phase.explicit, Phase.reuse, Phase.generate]  # which takes minutes
few = settings(max_examples=10, deadline=None, phases=no_shrinking)
times = st.integers(1, 2000).map(lambda half: 2 * half)
fours = st.tuples(times, times, times, times)
tooks = st.builds(Took, sample=times, give=st.integers(1, 500), copy=times, host=fours, device=fours)
asks = st.integers(1, 250).map(lambda half: 2 * half)  # no more than half a batch takes the device
of_device = st.integers(500, 2000).map(lambda half: 2 * half)
on_device = st.builds(
    Took,
    sample=times,
    copy=times,
    host=st.tuples(asks, asks, asks, asks),
    device=st.tuples(of_device, of_device, of_device, of_device),
)


@settings(few, max_examples=25)
@given(tooks, st.integers(1, 4))
def test_a_replay_equals_the_recurrences(took: Took, prefetch: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(machine, "cores", lambda: 16)
        found = Predictor(ran(lived(took, prefetch=prefetch), prefetch), 1e6)
    assert found.measured == pytest.approx(rate(took, prefetch=prefetch), rel=1e-6)
    assert found.off == pytest.approx(0, abs=1e-4)  # the host looks for 1 ns


@few
@given(on_device)
def test_what_would_be_equals_the_recurrences(took: Took) -> None:
    (forward, losses, backward, optimiser), (asks_forward, asks_losses, asks_backward, asks_optimiser) = (
        took.device,
        took.host,
    )
    faster = replace(
        took,
        device=(forward, losses, backward // 2, optimiser),
        host=(asks_forward, asks_losses, asks_backward // 2, asks_optimiser),
    )
    wanted = {
        "backward=x0.5": rate(faster),
        "forward=+3": rate(replace(took, device=(forward + 3000, losses, backward, optimiser))),
        "prefetch=1": rate(took, prefetch=1),
        "decode=+5": rate(replace(took, sample=took.sample + 5000)),
        "batch=8": rate(took.of(8), batch=8),
    }
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = predictor(took, monkeypatch)
    told = {text: found.predict(one).rate for text, one in zip(wanted, ifs.parse([*wanted]), strict=True)}
    assert told == pytest.approx(wanted, rel=1e-4)
