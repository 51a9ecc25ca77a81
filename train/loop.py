"""Batch to checkpoint: a recipe and a shard set in, a run folder with a trained network out.

Read from top to bottom this is all that a run does. Every rank runs it; the one that leads writes. What a run leaves
behind is told in `run.py`, one optimiser step in `step.py`.
"""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from david import __version__
from david.model import Network, build, label
from david.pack.errors import DavidError
from david.pipeline import trace
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards
from david.train import checkpoint, distributed, identity, run, shelf, writers
from david.train import recipe as recipes
from david.train.distributed import World
from david.train.eval import pictures
from david.train.eval.evaluate import evaluate
from david.train.journal import Mark, read
from david.train.recipe import Recipe
from david.train.record import curves
from david.train.record.bundle import Watch
from david.train.record.display import display
from david.train.record.recorder import Recorder
from david.train.record.saver import Saver
from david.train.signals import PATIENCE_S, Stopped, StopSignals
from david.train.start import PRETRAINED, Start
from david.train.step import decoding, micro_batch
from david.train.step.gradients import settled
from david.train.step.precision import half_precision, name_of
from david.train.step.sharding import join
from david.train.step.step import Step
from david.train.tasks import table as tasks

PICTURED = 6  # samples of a sheet


@dataclass(frozen=True)
class Finished:
    """A run that came to its end. metrics: of the held-out samples, see `eval/metrics.py`."""

    out: Path
    step: int
    metrics: dict[str, float]


def train(
    recipe: Recipe,
    shards: Shards,
    out: Path | None = None,
    *,
    stop: int | None = None,
    device: str = "auto",
    begin: Start = PRETRAINED,
    fit: bool = False,
    track: tuple[str, ...] = (),
    speaks: bool = True,
    notes: tuple[str, ...] = (),
    patience_s: float = PATIENCE_S,
) -> Finished:
    """Train, or go on with, the run in `out`.

    out: the run's folder; without one it is named by what must not change, see `identity.py`
    stop: the step after which to end, unless the recipe ends before. The schedule is the recipe's all the same, so a
        run that ends early and goes on later equals one that went through
    device: auto, cpu or cuda
    begin: the weights that a new run begins with
    fit: find the recipe's `micro_batch` by the memory at hand, for a run that begins
    track: who hears of the run beside TensorBoard: `wandb`, `mlflow`
    speaks: whether to show progress, on the standard error stream
    notes: what to say at the beginning beside what is found here
    patience_s: how long another rank may give no sign of life, see `pulse.py`

    Raises DavidError for what a user can mend, and Stopped after a signal, when all is saved.
    """
    stop = min(stop or recipe.steps, recipe.steps)
    with (
        distributed.joined(device, patience_s) as world,
        StopSignals(world.size == 1, speaks) as signals,
        ExitStack() as stack,
    ):
        out = out or identity.default_folder(recipe, shards, begin)
        recipe = replace(settled(recipe, world.device), objective=tasks.settled(recipe.objective))
        run.check(recipe, shards, out, world.size)
        writers.check(track)
        if fit:
            recipe = micro_batch.fitted(recipe, shards, world)
        recipe, told = decoding.settled(recipe, shards, out, world)
        start, found = claim(recipe, shards, out, world, stack)
        found += told
        shown = stack.enter_context(closing(display(start, stop, speaks and world.leads)))

        torch.manual_seed(recipe.seed)
        network = build(recipe.model)
        if start == 0:
            found += begin.fill(network, recipe)
        network.to(world.device).to(memory_format=torch.channels_last)
        step = Step(network, recipe, world, shown.note)

        def load(split: str, **how) -> Loader:
            return Loader(shards, split, recipe.data, seed=recipe.seed, device=world.device, **how)

        ranks = {"rank": world.rank, "world_size": world.size, "batch_size": recipe.batch_size}
        loader = stack.enter_context(load("train", start=start, **ranks))
        marks = restore(out, start, network, step, loader) if start else {}
        if world.leads:
            found += run.cut_back(out, start, marks)
        watch = Watch(out / "bad", step, world, shown.note)
        recorder = stack.enter_context(closing(Recorder(out, start, recipe, step, watch, world, shown, track)))
        measure, picture = held_out(step, shards, out, world, recorder, load, ranks)
        saver = stack.enter_context(Saver())
        save = saving(out, recipe, network, step, loader, recorder, world, saver)

        if start >= stop:
            found.append(f"{out}: step {start} of {stop} is done; more --steps go on, --out or --set begin another run")
        for note in [*notes, *found, describe(recipe, network, loader, world, start, out)]:
            shown.note(note)
        if start == 0:
            with recorder.aside():
                picture(0)
        metrics, best = newest(out / "metrics.jsonl"), recorder.best()
        if start and world.leads:
            publish(out, start, best)  # as it would have been, had nothing come between
        for number, batch in zip(range(start + 1, stop + 1), loader, strict=False):
            recorder.take(step(batch, number, watch.look), batch, loader.wait_s)
            saver.check()
            last = number == stop
            stopping = not last and number % recipe.log_every == 0 and world.any(signals.requested)
            if last or due(number, recipe.evaluate_every):
                with recorder.aside(), trace.span("evaluation"):
                    metrics = measure()
                    recorder.measured(number, metrics)
                best = world.from_leader(recorder.best())
            if last or due(number, recipe.picture_every):
                with recorder.aside(), trace.span("pictures"):
                    picture(number)
            if last or stopping or best == number or due(number, recipe.checkpoint_every):
                with recorder.aside(), trace.span("checkpoint"):
                    save(number, best)
            if stopping:
                saver.wait()
                world.wait()  # a rank that ends is the end of all
                raise Stopped(f"{out}: stopped by a signal and saved after step {number}; the same command goes on")
        saver.wait()
        if world.leads:
            curves.draw(out / "journal.jsonl", out / "loss.png")
        return Finished(out, max(start, stop), metrics)


def due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def newest(metrics: Path) -> dict[str, float]:
    """The last evaluation that stands in a run, without its step; empty before the first."""
    found: dict[str, float] = {}
    for found in read(metrics):
        found.pop("step")
    return found


def claim(recipe: Recipe, shards: Shards, out: Path, world: World, stack: ExitStack) -> tuple[int, list[str]]:
    """Claim the folder, and find the step to go on from (0: at the beginning), the same on every rank."""
    step, notes = 0, []
    if world.leads:
        stack.enter_context(run.claimed(out, recipe, shards))
        checkpoint.clean(out / "checkpoints")
        step, notes = shelf.newest_whole(out / "checkpoints")
    return world.from_leader(step), notes


def restore(out: Path, start: int, network: Network, step: Step, loader: Loader) -> dict[str, Mark]:
    """Fill network and optimiser from the checkpoint, and return its marks of what the run had told until then.

    Raises DavidError where its order of samples is another."""
    path = shelf.path_of(out / "checkpoints", start)
    state, extra = checkpoint.restore(path, network, step.optimiser, step.named)
    stored = state["loader"]
    if stored["fingerprint"] not in (loader.fingerprint, loader.earlier) or stored["state"] != loader.state:
        raise DavidError(
            f"{path}: its samples come from {stored['fingerprint']} at {stored['state']}, this loader is "
            f"{loader.fingerprint} at {loader.state}; use another --out folder"
        )
    step.restore(extra)
    return state.get("records", {})


def saving(
    out: Path,
    recipe: Recipe,
    network: Network,
    step: Step,
    loader: Loader,
    recorder: Recorder,
    world: World,
    saver: Saver,
) -> Callable[[int, int], None]:
    """How to save a checkpoint of a step, with the step of the best one to keep beside it (0: none).

    What it holds is copied at once, and all that was written down up to it is on the disk; `saver` writes it. Ranks
    that do not lead write nothing.
    """
    if not world.leads:
        return lambda number, best: join(checkpoint.groups(network, step.optimiser, step.state(), step.named))
    made_by = {"david": __version__, "recipe": recipes.to_json(recipe)}

    def save(number: int, best: int) -> None:
        state = {
            "step": number,
            "records": recorder.sync(),
            "loader": {"state": loader.state, "fingerprint": loader.fingerprint},
            "recipe": made_by["recipe"],
        }
        about = label.metadata(network.config, **made_by, step=number)
        saver.wait()  # one copy at a time in the host's memory
        taken = checkpoint.take(checkpoint.groups(network, step.optimiser, step.state(), step.named))

        def write() -> None:
            checkpoint.write(out / "checkpoints", number, taken, state, recipe.keep, best=best, label=about)
            publish(out, number, best)

        saver.begin(write)

    return save


def publish(out: Path, newest: int, best: int) -> None:
    """Name the weights that a run leaves: of its best checkpoint, or of the newest where there is none (0)."""
    both = (shelf.path_of(out / "checkpoints", number) for number in (best, newest))
    chosen = next(path for path in both if path.is_dir())
    if label.read(shelf.weights_of(chosen)):  # unless an older version saved it
        checkpoint.publish(chosen, out / run.WEIGHTS)


def held_out(
    step: Step,
    shards: Shards,
    out: Path,
    world: World,
    recorder: Recorder,
    load: Callable[..., Loader],
    ranks: dict[str, int],
) -> tuple[Callable[[], dict[str, float]], Callable[[int], None]]:
    """How to measure the network on the samples that it does not train on, and how to picture it on the first of them.

    Without a `val` split nothing is measured, and the pictures are of training samples.
    """
    measurable = sets.load(shards).samples("val") > 0

    def measure() -> dict[str, float]:
        if not measurable:
            return {}
        with load("val", train=False, **ranks) as loader, step.evaluating():
            return evaluate(step.network, loader, world, step.reduced)

    def stand_by(number: int) -> None:
        with step.evaluating():  # which all ranks enter together
            pass

    if not world.leads:
        return measure, stand_by
    with load("val" if measurable else "train", train=False, batch_size=PICTURED) as loader:
        seen = next(loader)

    def picture(number: int) -> None:
        with step.evaluating():
            path = out / "pictures" / f"step-{number:08d}.png"
            sheet = pictures.draw(step.network, seen, path, step.reduced, step.task.shown)
        recorder.pictured(number, sheet)

    return measure, picture


def describe(recipe: Recipe, network: Network, loader: Loader, world: World, start: int, out: Path) -> str:
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    parts = f" ({recipe.micro_batch} at once)" if recipe.micro_batch else ""
    begin = f"on from step {start}" if start else "from the beginning"
    precision = name_of(half_precision(recipe.precision, world.device))
    return (
        f"{recipe.name}: {parameters:.1f} M parameters, {loader.samples} samples, batches of {recipe.batch_size}"
        f"{parts} on {world.size} x {world.device.type} in {precision}, {begin}, in {out}"
    )
