"""Loader alone, step alone and in parts, both together, and a plain trainer: each by david's own path, in turns."""

import math
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from david.bench.harness import WARM_UP, Contender, Measured, finish, take_turns
from david.bench.peers import plain_trainer, raw_loader
from david.bench.result import Figures, Result
from david.bench.suites.parts import matrix_rate, parts
from david.model import build
from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader, cores
from david.pipeline.reading import sets
from david.pipeline.stages import NAMES
from david.train import distributed
from david.train.distributed import World
from david.train.recipe import Recipe, to_json
from david.train.step import decoding
from david.train.step.gradients import settled
from david.train.step.step import Step

MOST_RAW = 400  # raw samples that the plain trainer reads: unzipped they take 1 to 2 MB each
STEP_BOUND_SHARE = 0.05  # a step that waits less than this does not wait for data


def measure(
    suite: str,
    contenders: tuple[str, ...],
    recipe: Recipe,
    shards: Path,
    batches: int,
    rounds: int,
    device: str,
    raw: Path | None = None,
) -> Result:
    """Measure the named contenders (load, bare, step, parts, both, plain). bare: the loader without the set's sidecars.

    raw: the samples that the shards were packed from, for `plain`, which reads raw files: `MOST_RAW` of them. The parts
    are those of DDP's way to sum, whatever the recipe's: the exact way computes images side by side.

    Every rank comes here. Rates are of all ranks together, parts and arithmetic of one.

    Raises DavidError where the shards, the recipe or the device do not allow it."""
    dataset, bare = sets.load(shards), Path(sets.parts(shards)[0])
    with distributed.joined(device) as world, ExitStack() as stack:
        if raw is not None and world.size > 1:
            raise DavidError(
                f"--raw: the plain trainer is one process, here are {world.size} ranks; leave one of them out"
            )
        ranks = world.size
        recipe, _ = decoding.settled(recipe, shards, None, world)
        table: dict[str, Contender] = {"load": lambda: load_alone(recipe, shards, world, batches)}
        table["bare"] = lambda: load_alone(recipe, bare, world, batches)
        if {"step", "both"} & set(contenders):
            step, batch = make_step(recipe, world), one_batch(recipe, shards, world)
            table["step"] = lambda: step_alone(step, batch, batches)
            table["both"] = lambda: both(step, recipe, shards, world, batches)
        if "parts" in contenders:
            whole = make_step(replace(recipe, parallel="ddp", micro_batch=None), world)
            rate, seen = matrix_rate(recipe, world.device), one_batch(recipe, shards, world)
            table["parts"] = lambda: parts(whole, seen, batches, world, rate)
        if raw is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            raw_loader.prepare(raw, MOST_RAW, folder)
            workers = recipe.data.threads or cores(1)
            table["plain"] = lambda: plain_trainer.train(folder, recipe, world.device, workers, batches)
        with Console(stderr=True, quiet=not world.leads).status("measuring") as status:
            figures = take_turns({name: table[name] for name in contenders}, rounds, told=status.update)
    where = f"{ranks} x {world.device.type}"
    title = f"{recipe.name}: {recipe.batch_size} images of {recipe.data.height} x {recipe.data.width} on {where}"
    sentence = None
    if "plain" in contenders:
        ratio = figures["both"]["rate"].median / figures["plain"]["rate"].median
        sentence = f"david trains {ratio:.1f} times as many samples a second as the plain trainer."
    if "bare" in contenders:
        ratio = figures["load"]["rate"].median / figures["bare"]["rate"].median
        sentence = f"With labels beside them {ratio:.2f} times as many samples a second are loaded as without."
    if set(contenders) == {"load", "step", "both"}:
        sentence = verdict(figures, shares_processor=world.device.type == "cpu")
    about = {
        "recipe": to_json(settled(recipe, world.device)),
        "shards": {"fingerprint": dataset.fingerprint, "samples": dataset.samples("train")},
        "data": {
            "folder": bare.name,
            "archives": [one["name"] for one in dataset.manifests[0].raw.get("archives", ())],
        },
        **{"batches": batches, "rounds": rounds, "ranks": ranks},
    }
    return Result.of(suite, title, figures, verdict=sentence, about=about)


def verdict(figures: Figures, shares_processor: bool) -> str:
    """What bounds training, in one sentence, from the figures of `load`, `step` and `both`.

    shares_processor: loader and step run on the same cores, so that each slows the other down"""
    load, step = figures["load"]["rate"].median, figures["step"]["rate"].median
    both, waited = figures["both"]["rate"].median, figures["both"]["waited"].median
    if waited < STEP_BOUND_SHARE:
        sentence = (
            f"The step bounds training here: {both:.1f} samples/s with {waited:.1%} of the time waiting for data, "
            f"while the loader alone makes {load / step:.1f} times as many as the step alone takes"
        )
    else:
        stages = {name: figure.median for name, figure in figures["load"].items() if figure.unit == "share"}
        busiest = max((name for name in stages if name not in ("prepare", "hold", "wait")), key=stages.__getitem__)
        sentence = (
            f"Data bounds training here: the step waits {waited:.1%} of its time, together they make {both:.1f} "
            f"samples/s of the step's {step:.1f}, and the loader spends most in `{busiest}`"
        )
    return sentence + (" (both share the same cores)." if shares_processor else ".")


def open_loader(recipe: Recipe, shards: Path, world: World) -> Loader:
    """The recipe's training loader on `shards`, as `david train` opens it on this rank."""
    return Loader(
        shards,
        "train",
        recipe.data,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        rank=world.rank,
        world_size=world.size,
        device=world.device,
    )


def load_alone(recipe: Recipe, shards: Path, world: World, batches: int) -> Measured:
    """Samples/s of the loader over `batches` batches, of all ranks together, and the share of that time that each of
    this rank's stages was at work or waited (over 1 where several threads are)."""
    with open_loader(recipe, shards, world) as loader:
        for _ in range(WARM_UP):
            next(loader)
        finish(world.device)
        before, begin = loader.stages.seconds(), time.perf_counter()
        for _ in range(batches):
            next(loader)
        finish(world.device)
        elapsed_s = time.perf_counter() - begin
        after = loader.stages.seconds()
    figures = {"rate": (batches * recipe.batch_size / elapsed_s, "samples/s")}
    return figures | {name: ((after[name] - before[name]) / elapsed_s, "share") for name in NAMES}


def make_step(recipe: Recipe, world: World, tell: Callable[[str], None] = warnings.warn) -> Step:
    """The recipe's step as `david train` makes it, on weights drawn from its seed: values do not change the time.

    tell: as of `Step`"""
    torch.manual_seed(recipe.seed)
    network = build(recipe.model).to(world.device).to(memory_format=torch.channels_last)
    return Step(network, recipe, world, tell)


def one_batch(recipe: Recipe, shards: Path, world: World) -> Batch:
    """This rank's share of the first batch."""
    with open_loader(recipe, shards, world) as loader:
        return next(loader)


def step_alone(step: Step, batch: Batch, steps: int) -> Measured:
    """Samples/s of the step on one fixed batch, over all ranks."""
    device = batch.image.device
    for number in range(1, 1 + WARM_UP):
        step(batch, number)
    finish(device)
    begin = time.perf_counter()
    for number in range(1, 1 + steps):
        step(batch, number)
    finish(device)
    samples = steps * len(batch) * step.world.size
    return {"rate": (samples / (time.perf_counter() - begin), "samples/s")}


def both(
    step: Step, recipe: Recipe, shards: Path, world: World, steps: int | None, most_s: float = math.inf
) -> Measured:
    """Samples/s of loader and step together, as training runs, and the share of the time that the step waited.

    steps: None for as many as `most_s` seconds hold, and `WARM_UP` at least"""
    device = world.device
    with open_loader(recipe, shards, world) as loader:
        for number in range(1, 1 + WARM_UP):
            step(next(loader), number)
        finish(device)
        waited_s, taken, begin = 0.0, 0, time.perf_counter()
        while taken != steps:
            batch = next(loader)
            waited_s += loader.wait_s
            taken += 1
            step(batch, min(taken, recipe.steps))  # the schedule knows no other
            if steps is None and taken >= WARM_UP and world.any(time.perf_counter() - begin > most_s):
                break
        finish(device)
        elapsed_s = time.perf_counter() - begin
    return {
        "rate": (taken * recipe.batch_size / elapsed_s, "samples/s"),
        "waited": (waited_s / elapsed_s, "share"),
    }
