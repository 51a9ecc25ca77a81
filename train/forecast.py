"""`david train --dry-run`: what a run would be, before anything is started or written."""

from pathlib import Path

from david.model.size import STATE_BYTES
from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards
from david.train import run, shelf
from david.train.recipe import Recipe

AVERAGE_BYTES = 4  # a parameter: float32, of a recipe that averages its weights


def forecast(recipe: Recipe, shards: Shards, out: Path, stop: int | None, ranks: int) -> dict[str, str]:
    """A name and what there is to say of it, for people. stop, ranks: as of `loop.train`.

    Raises DavidError where the run could not begin or go on."""
    run.check(recipe, shards, out, ranks)
    dataset = sets.load(shards)
    samples, held_out = dataset.samples("train"), dataset.samples("val")
    stop, (start, notes) = min(stop or recipe.steps, recipe.steps), shelf.newest_whole(out / "checkpoints")
    size, each = recipe.data, recipe.batch_size // ranks
    if start >= stop:
        then = f"step {start:,} of {stop:,} is done: nothing would be trained; --steps asks for more"
    elif start:
        then = f"it would go on after step {start:,}, from its newest whole checkpoint"
    else:
        then = "a run there without a checkpoint would begin anew" if run.stored(out) else "a new run would begin there"
    parts = f", {recipe.micro_batch} at once" if recipe.micro_batch else ""
    image = f"{size.height} x {size.width} pixels" if size.height and size.width else "the samples' size"
    return {
        "recipe": f"{recipe.name}: {', '.join(recipe.model.heads)} by {recipe.model.backbone}",
        "folder": f"{out}: {then}{''.join(f'; {note}' for note in notes)}",
        "samples": f"{samples:,} to train on, {held_out:,} held out, as {image}",
        "steps": f"{max(stop - start, 0):,}, to step {stop:,} of {recipe.steps:,}, in batches of {recipe.batch_size}",
        "epochs": f"{stop * recipe.batch_size / samples:,.2f} by step {stop:,}",
        "ranks": f"{ranks:,}, each with {each:,} samples of a batch{parts}; gradients summed by {recipe.parallel}",
        "memory": memory(recipe, ranks),
    }


def memory(recipe: Recipe, ranks: int) -> str:
    """What a rank keeps for as long as it runs: weights, gradients, the optimiser's moments, the average."""
    count = recipe.model.parameters()
    if count is None:
        return f"not known for {recipe.model.backbone}: it is none of the architectures whose parameters are counted"
    each = STATE_BYTES + AVERAGE_BYTES * (recipe.optim.ema > 0)
    shared = ranks if recipe.parallel == "fsdp" else 1
    what = "weights, gradients, AdamW's moments" + (", the average" if recipe.optim.ema else "")
    return (
        f"{count * each / shared / 1e9:,.2f} GB a rank for {count / 1e6:,.1f} million parameters ({what}); what a "
        "step computes comes on top"
    )
