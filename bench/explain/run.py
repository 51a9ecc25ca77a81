"""The product's own training, recorded: some steps of a recipe into a folder that is thrown away."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns, thread_time_ns
from typing import Any, NamedTuple

import torch

from david.bench.explain import tracks
from david.bench.explain.tracks import Tracks
from david.pipeline import trace
from david.pipeline.reading.sets import Shards
from david.train import distributed, loop
from david.train.recipe import Recipe
from david.train.signals import Stopped
from david.train.step.gradients import settled

IN_FLIGHT = 3  # batches that any engine has under way at most


def warm_up(recipe: Recipe) -> int:
    """Steps until the batches are used up that were made while the network was."""
    return recipe.data.prefetch + IN_FLIGHT + 1


class Ran(NamedTuple):
    """recipe: as it was settled here; first: the first step that counts, from 0 on; spans: recorded of a step
    span_ns: what recording one costs, in the thread that does it"""

    recipe: Recipe
    tracks: Tracks
    first: int
    spans: float
    span_ns: float


def run(recipe: Recipe, shards: Shards, steps: int, device: str) -> Ran:
    """Train for so many steps between a warm-up and a last one, from drawn weights; then it is evaluated, pictured and
    saved.

    recipe: as it was settled. Raises DavidError and Stopped as `loop.train`."""
    first, on = warm_up(recipe), distributed.device_of(device)
    stop = first + steps + 1
    recipe = replace(recipe, pretrained=False, steps=max(recipe.steps, stop))
    events = Events(on) if on.type == "cuda" else None
    with tempfile.TemporaryDirectory(prefix="david-explain-") as folder, trace.recording(events) as record:
        try:
            loop.train(recipe, shards, Path(folder) / "run", stop=stop, device=device, speaks=False)
        except Stopped as stopped:  # it names the folder that is thrown away here
            raise Stopped("stopped by a signal; nothing is kept of it, and the same command begins anew") from stopped
    queued = tracks.on_device(record.queued, events.began_ns, events.after_ms) if events else []
    found = tracks.of(record, recipe.data.prefetch, queued)
    return Ran(recipe, found, first, len(record.spans) / stop, cost_ns())


def settled_here(recipe: Recipe, device: str) -> Recipe:
    """The recipe with what is chosen by the device."""
    return settled(recipe, distributed.device_of(device))


class Events:
    """CUDA events that know their time, and when by the host's clock one happened on the idle device."""

    def __init__(self, device: torch.device):
        torch.cuda.synchronize(device)
        self._began = self(None)
        torch.cuda.synchronize(device)
        self.began_ns = perf_counter_ns()

    def __call__(self, stream: Any) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(stream)
        return event

    def after_ms(self, event: torch.cuda.Event) -> float:
        event.synchronize()
        return self._began.elapsed_time(event)


def cost_ns(times: int = 2000, work: Callable[[], None] = lambda: None) -> float:
    """What recording one span takes, on a core."""
    with trace.recording():
        begin = thread_time_ns()
        for _ in range(times):
            with trace.span("span"):
                work()
        return (thread_time_ns() - begin) / times
