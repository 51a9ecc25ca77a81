"""`david bench`: loader alone, step alone and in parts, both together, a plain trainer, in turns; a table and a row."""

import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench import report, rows
from david.bench.harness import Contender, take_turns
from david.bench.peers import plain_trainer, raw_loader
from david.bench.suites.load import load_alone
from david.bench.suites.parts import matrix_rate, parts
from david.bench.suites.step import both, make_step, one_batch, step_alone
from david.pack.errors import DavidError
from david.pack.shards import manifest
from david.pipeline.loader import cores
from david.train import distributed
from david.train.recipe import Recipe, to_json
from david.train.step.gradients import settled

MOST_RAW = 400  # raw samples that the plain trainer reads: unzipped they take 1 to 2 MB each


def measure(
    suite: str,
    contenders: tuple[str, ...],
    recipe: Recipe,
    shards: Path,
    batches: int,
    rounds: int,
    device: str,
    console: Console,
    raw: Path | None = None,
) -> dict[str, Any]:
    """Measure the named contenders (load, step, parts, both, plain) and print what came out. Returns the row.

    raw: the samples that the shards were packed from, for `plain`, which reads raw files: `MOST_RAW` of them. The parts
    are those of DDP's way to sum, whatever the recipe's: the exact way computes images side by side.

    Every rank comes here; the one that leads prints. Rates are of all ranks together, parts and arithmetic of one.

    Raises DavidError where the shards, the recipe or the device do not allow it."""
    dataset = manifest.load(shards)
    with distributed.joined(device) as world, ExitStack() as stack:
        if raw is not None and world.size > 1:
            raise DavidError(
                f"--raw: the plain trainer is one process, here are {world.size} ranks; leave one of them out"
            )
        ranks, console = world.size, console if world.leads else Console(quiet=True)
        table: dict[str, Contender] = {"load": lambda: load_alone(recipe, shards, world, batches)}
        if {"step", "both"} & set(contenders):
            step, batch = make_step(recipe, world), one_batch(recipe, shards, world)
            table["step"] = lambda: step_alone(step, batch, batches)
            table["both"] = lambda: both(step, recipe, shards, world, batches)
        if "parts" in contenders:
            whole = make_step(replace(recipe, summation="ddp", micro_batch=None), world)
            rate, seen = matrix_rate(recipe, world.device), one_batch(recipe, shards, world)
            table["parts"] = lambda: parts(whole, seen, batches, world, rate)
        if raw is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            raw_loader.prepare(raw, MOST_RAW, folder)
            workers = recipe.data.threads or cores(1)
            table["plain"] = lambda: plain_trainer.train(folder, recipe, world.device, workers, batches)
        with console.status("measuring") as status:
            figures = take_turns({name: table[name] for name in contenders}, rounds, told=status.update)
    where = f"{ranks} x {world.device.type}"
    title = f"{recipe.name}: {recipe.batch_size} images of {recipe.data.height} x {recipe.data.width} on {where}"
    console.print(report.table(title, figures))
    sentence = None
    if "plain" in contenders:
        ratio = figures["both"]["rate"].median / figures["plain"]["rate"].median
        sentence = f"david trains {ratio:.1f} times as many samples a second as the plain trainer."
        console.print(sentence, soft_wrap=True)
    if set(contenders) == {"load", "step", "both"}:
        sentence = report.verdict(figures, shares_processor=world.device.type == "cpu")
        console.print(sentence, soft_wrap=True)
    return rows.row(
        suite,
        {name: {quantity: one.as_json() for quantity, one in measured.items()} for name, measured in figures.items()},
        verdict=sentence,
        recipe=to_json(settled(recipe, world.device)),
        shards={"fingerprint": dataset.fingerprint, "samples": dataset.samples("train")},
        data={"folder": shards.name, "archives": [one["name"] for one in dataset.raw.get("archives", ())]},
        batches=batches,
        rounds=rounds,
        ranks=ranks,
    )


def measure_as_rank(**how: Any) -> dict[str, Any]:
    """`measure` in a process that was started to be a rank: it makes the console by itself."""
    return measure(**how, console=Console())
