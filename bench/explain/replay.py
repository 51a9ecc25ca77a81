"""A recorded run once more in virtual time, with other threads, cores, sizes and speeds.

The graph is the product's: threads that take samples in the order of batches, of which a few are under way; the
loader's own thread that hands them on in order and holds where enough wait; the trainer that takes one a step, and
computes images side by side or not. What each sample, image and step takes by itself is what it took in the record.

With a GPU the trainer only asks for a step's work and runs ahead of it, up to where it looks whether the step before
was finite; copies of batches cross beside that, and a step begins there when its batch has.

It leaves a record as a run does, so that its critical path tells what would bound training then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, cycle, islice

from david.bench.explain import tracks
from david.bench.explain.cores import Core, Disk, Machine, Sleep, Thread, Until
from david.bench.explain.costs import BESIDE, Costs, Work
from david.bench.explain.device import Device
from david.bench.explain.run import Ran
from david.bench.explain.tracks import COPIES, DEVICE, SYNCHRONISE
from david.pipeline.trace import Record, Span
from david.train.step.gradients import at_once_forward

TRAINER, LOADER, READERS, BESIDES = 1, 2, 100, 10_000  # idents of threads; of the first of several
IN_PARALLEL = ("forward", "losses", "backward", "optimiser")  # what torch computes on all its cores, where it may
STEPS, FIRST = 48, 12  # that are played, and those of them that do not count


@dataclass(frozen=True)
class Setup:
    """cores, threads (of the loader), prefetch, batch; in_flight: batches under way in the loader; beside: threads that
    compute images side by side, or cores that torch computes on
    decoding: of these, batches that DALI has at once
    factors: stage -> how many times as long; on_device: the same for a GPU's part of it, where that is another
    delays_ns: stage -> without a core, in each sample, image or step
    disk_ns: that a sample takes of a disk which all threads share; sum_ns: a sum over ranks in each step
    hidden: whether the backward goes on beside it
    crowded: how many times as long all work takes on a core, and without one, since other cores are at work for the
        same Python"""

    cores: float
    threads: int
    prefetch: int
    batch: int
    in_flight: int = 2
    decoding: int = 1
    beside: int = 1
    factors: tuple[tuple[str, float], ...] = ()
    on_device: tuple[tuple[str, float], ...] = ()
    delays_ns: tuple[tuple[str, float], ...] = ()
    disk_ns: float = 0.0
    sum_ns: float = 0.0
    hidden: bool = False
    crowded: tuple[float, float] = (1.0, 1.0)

    def changed(self, work: Work) -> Work:
        factor, (on_core, aside) = dict(self.factors).get(work.name, 1.0), self.crowded
        made = work.times(factor, dict(self.on_device).get(work.name, factor))
        delay_ns = dict(self.delays_ns).get(work.name, 0.0)
        there, here = (delay_ns, 0.0) if work.device_ns else (0.0, delay_ns)
        return Work(work.name, made.core_ns * on_core, made.aside_ns * aside + here, made.device_ns + there)


def replay(costs: Costs, setup: Setup, like: Ran, steps: int = STEPS) -> Ran:
    """`steps` steps of what `costs` tells, with `setup`. like: the run that it was recorded in"""
    play = _Play(costs, setup, steps)
    play.run()
    found = tracks.of(play.record, setup.prefetch)
    return replace_run(like, found, setup)


def waited(costs: Costs, setup: Setup) -> float:
    """For a core, all threads together, as a part of the time on one."""
    play = _Play(costs, setup, STEPS)
    play.run()
    return play.machine.waited_ns / max(1.0, play.machine.had_ns)


def replace_run(like: Ran, found: tracks.Tracks, setup: Setup) -> Ran:
    recipe = replace(like.recipe, batch_size=setup.batch, data=replace(like.recipe.data, prefetch=setup.prefetch))
    return like._replace(recipe=recipe, tracks=found, first=FIRST)


class _Play:
    """One replay."""

    def __init__(self, costs: Costs, setup: Setup, steps: int):
        self.costs, self.setup, self.steps = costs, setup, steps
        self.machine = Machine(setup.cores)
        self.record = Record()
        self.record.thread = TRAINER
        self.record.threads |= {TRAINER: "trainer", LOADER: "loader"}
        self.samples, self.step_work, self.images = cycle(costs.samples), cycle(costs.steps), cycle(costs.images)
        self.may_go_forward = at_once_forward(setup.beside)  # threads that compute images
        self.queue: list[int] = []  # the batch of each sample that no thread has taken yet, in order
        self.left: dict[int, int] = {}  # samples of a batch that are not made
        self.slots, self.ready, self.submitted, self.done = setup.prefetch, 0, 0, 0
        self.by_dali, self.crossing = cycle(costs.by_dali), cycle(costs.copies)
        self.device, self.copies = (Device(self.machine, partial(self._tell, place)) for place in (DEVICE, COPIES))

    def run(self) -> None:
        for number in range(self.setup.threads):
            self.record.threads[READERS + number] = f"read_{number}"
            self.machine.start(self._reader(READERS + number))
        self.machine.start(self._loader())
        self.machine.start(self._trainer())
        self.machine.run(lambda: self.done == self.steps)

    def _tell(self, thread: int, name: str, start: float, number: int = -1, asked_ns: float | None = None) -> None:
        """asked_ns: of a GPU's work, when the host asked for it"""
        of = self if asked_ns is None else round(asked_ns)
        self.record.spans.append(Span(thread, name, round(start), round(self.machine.now), of=of, number=number))

    def _work(self, thread: int, work: Work, width: int = 1) -> Thread:
        begin, made = self.machine.now, self.setup.changed(work)
        yield Core(made.core_ns, width)
        yield Sleep(made.aside_ns)
        if self.machine.now > begin:
            self._tell(thread, work.name, begin)

    def _reader(self, thread: int) -> Thread:
        while True:
            while not self.queue:
                yield Until(lambda: bool(self.queue))
            number, begin = self.queue.pop(0), self.machine.now
            for work in next(self.samples):
                if work.name == "read" and self.setup.disk_ns:
                    start = self.machine.now
                    yield Disk(self.setup.disk_ns)
                    self._tell(thread, "read", start)
                yield from self._work(thread, work)
            self.left[number] -= 1
            self._tell(thread, "sample", begin, number)

    def _loader(self) -> Thread:
        for number in count():
            begin = self.machine.now
            while not self.slots:
                yield Until(lambda: self.slots > 0)
            self.slots -= 1
            self._tell(LOADER, "hold", begin)
            begin = self.machine.now
            while self.submitted < number + self.setup.in_flight:
                yield Core(self.costs.ask.core_ns * self.setup.crowded[0])
                self._submit()
            waits, last = self.machine.now, number + self.setup.decoding - 1
            while self.left[last]:
                yield Until(lambda last=last: not self.left[last])
            self._tell(LOADER, "prepare", waits)
            for work in next(self.by_dali, ()):
                yield from self._work(LOADER, work)
            yield Core(self.costs.give.core_ns * self.setup.crowded[0])
            for ns in islice(self.crossing, 1):
                self.copies.ask("copy", self.setup.changed(Work("copy", 0.0, 0.0, ns)).device_ns)
            self._tell(LOADER, "batch", begin)
            self.ready += 1

    def _submit(self) -> None:
        self._tell(LOADER, "submit", self.machine.now, self.submitted)
        self.left[self.submitted] = self.setup.batch
        self.queue += [self.submitted] * self.setup.batch
        self.submitted += 1

    def _trainer(self) -> Thread:
        for number in range(self.steps):
            begin, before = self.machine.now, len(self.device.jobs)
            while self.ready <= number:
                yield Until(lambda number=number: self.ready > number)
            self.slots += 1
            self._tell(TRAINER, "wait", begin)
            works = next(self.step_work)
            last = max((place for place, one in enumerate(works) if one.name == "backward"), default=-1)
            for place, work in enumerate(works):
                sum_ns = self.setup.sum_ns if place == last else 0.0
                if work.name == BESIDE:
                    yield from self._beside(number)
                    yield from self._work(TRAINER, Work("all-reduce", 0.0, self.setup.sum_ns))
                elif work.name == SYNCHRONISE:
                    begin = self.machine.now
                    yield from self.device.over(before)
                    self._tell(TRAINER, SYNCHRONISE, begin)
                elif work.device_ns:
                    yield from self._asked(number, work, sum_ns)
                else:
                    yield from self._computed(work, sum_ns)
            self.done += 1

    def _computed(self, work: Work, sum_ns: float) -> Thread:
        """By the CPU. sum_ns: over ranks, beside it"""
        begin, wide = self.machine.now, not self.costs.images and work.name in IN_PARALLEL
        yield from self._work(TRAINER, work, self.setup.beside if wide else 1)
        if self.setup.hidden:
            left = sum_ns - (self.machine.now - begin)
            yield from self._work(TRAINER, Work("all-reduce", 0.0, max(0.0, left)))

    def _asked(self, number: int, work: Work, sum_ns: float) -> Thread:
        """By a GPU, once the step's batch is there. sum_ns: over ranks, beside it"""
        ns = self.setup.changed(work).device_ns
        self.device.ask(work.name, ns, lambda: self.copies.done > number or not self.costs.copies)
        yield from self._work(TRAINER, work)
        if sum_ns > ns:
            self.device.ask("all-reduce", sum_ns - ns)

    def _beside(self, step: int) -> Thread:
        """Images side by side, each thread with as many as the others, as `gradients.Exact` shares them out."""
        begin, threads = self.machine.now, min(self.setup.beside, self.setup.batch)
        images = list(islice(self.images, self.setup.batch))
        open_ = {number: images[number::threads] for number in range(threads)}
        for number, share in list(open_.items()):
            self.machine.start(self._share(BESIDES + number, share, lambda number=number: open_.pop(number)))
        while open_:
            yield Until(lambda: not open_)
        self._tell(TRAINER, BESIDE, begin)

    def _share(self, thread: int, images: list[list[Work]], over: Callable[[], object]) -> Thread:
        begin = self.machine.now
        for image in images:
            while not self.may_go_forward:
                yield Until(lambda: self.may_go_forward > 0)
            self.may_go_forward -= 1
            for place, work in enumerate(image, 1):
                self.may_go_forward += place == len(image)  # the last is its backward
                yield from self._work(thread, work)
        self._tell(thread, "share", begin)
        over()
