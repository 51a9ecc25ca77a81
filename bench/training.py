"""`david bench`: loader alone, step alone, both together, in turns; a table, a sentence and a row."""

from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench import report, rows
from david.bench.harness import Contender, take_turns
from david.bench.suites.load import load_alone
from david.bench.suites.step import both, make_step, one_batch, step_alone
from david.pack import manifest
from david.train import distributed
from david.train.recipe import Recipe, to_json


def measure(
    suite: str,
    contenders: tuple[str, ...],
    recipe: Recipe,
    shards: Path,
    batches: int,
    rounds: int,
    device: str,
    console: Console,
) -> dict[str, Any]:
    """Measure the named contenders (load, step, both) and print what came out. Returns the row.

    Raises DavidError where the shards, the recipe or the device do not allow it."""
    dataset = manifest.load(shards)
    with distributed.joined(device) as world:
        table: dict[str, Contender] = {"load": lambda: load_alone(recipe, shards, world.device, batches)}
        if {"step", "both"} & set(contenders):
            step, batch = make_step(recipe, world), one_batch(recipe, shards, world.device)
            table["step"] = lambda: step_alone(step, batch, batches)
            table["both"] = lambda: both(step, recipe, shards, world.device, batches)
        with console.status("measuring") as status:
            figures = take_turns({name: table[name] for name in contenders}, rounds, told=status.update)
    title = f"{recipe.name}: {recipe.batch_size} images of {recipe.data.height} x {recipe.data.width} on {world.device}"
    console.print(report.table(title, figures))
    sentence = None
    if set(contenders) == {"load", "step", "both"}:
        sentence = report.verdict(figures, shares_processor=world.device.type == "cpu")
        console.print(sentence, soft_wrap=True)
    return rows.row(
        suite,
        {name: {quantity: one.as_json() for quantity, one in measured.items()} for name, measured in figures.items()},
        verdict=sentence,
        recipe=to_json(recipe),
        shards={"fingerprint": dataset.fingerprint, "samples": dataset.samples("train")},
        batches=batches,
        rounds=rounds,
    )
