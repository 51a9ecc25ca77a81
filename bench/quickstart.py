"""`david quickstart`: the whole of david on data made on the spot, through the functions that its commands call."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rich.console import Console

from david.bench import rows
from david.bench.suites import training
from david.pack import machine, read, synth
from david.pack.look import preview
from david.pack.progress import progress_bar
from david.pack.work.build import build
from david.pack.work.display import PackDisplay
from david.pack.work.plan import PackOptions
from david.train import loop, recipes

SHOWN = 12  # samples on the contact sheet of the data
VAL_FRACTION = 0.1


@contextmanager
def chapter(console: Console, number: int, title: str) -> Iterator[None]:
    """Announce a part of the work, and say how long it took."""
    console.rule(f"{number}  {title}", align="left")
    begin = time.monotonic()
    yield
    console.print(f"{title}: {time.monotonic() - begin:.1f} s")


def run(out: Path, samples: int, steps: int | None, seed: int, console: Console) -> None:
    """Make `samples` samples, pack them, train the smoke recipe, measure, and name the files to look at.

    Run again on the same folder it goes on where it was."""
    raw, shards, trained = out / "raw", out / "shards", out / "run"
    recipe = recipes.recipe("smoke")
    if steps is not None:
        recipe = replace(recipe, steps=steps)
    out.mkdir(parents=True, exist_ok=True)

    if not list(raw.glob("*.zip")):
        with chapter(console, 1, "make samples"), progress_bar(console, "synth") as progress:
            synth.write(raw, samples, zips=3, seed=seed, progress=progress)
    with chapter(console, 2, "pack them into shards"), PackDisplay(console) as display:
        options = PackOptions(val_fraction=VAL_FRACTION, shard_samples=max(1, samples // (2 * machine.cores())))
        build(raw, shards, options, hear=display.hear, planned=display.planned)
        preview.contact_sheet(islice(read(shards, "train"), SHOWN), out / "data.png")
    with chapter(console, 3, f"train {recipe.name} for {recipe.steps} steps"):
        finished = loop.train(recipe, shards, trained)
        for name, value in finished.metrics.items():
            console.print(f"{name:>22}  {value:.4g}")
    with chapter(console, 4, "measure what bounds training here"):
        result = training.measure("training", ("load", "step", "both"), recipe, shards, 5, 3, "auto")
        result.show(console)
        rows.append(out / "bench.jsonl", result.row())

    console.rule("use it", align="left")
    for words, what in (
        (f"david predict PHOTO --weights {trained}", "a photo of your own"),
        (f"david export --weights {trained} --out net.onnx", "a file for other programs (extra `onnx`)"),
        (f"david demo --weights {trained}", "a page in your browser (extra `demo`)"),
    ):
        console.print(f"  {words}  [dim]{what}[/]", soft_wrap=True, highlight=False)
    console.rule("look at", align="left")
    pictures = trained / "pictures"
    for path, what in (
        (out / "data.png", "the data: RGB, depth, normals, alpha"),
        (pictures / "step-00000000.png", "held-out samples before training: target beside prediction"),
        (pictures / f"step-{recipe.steps:08d}.png", "the same after training"),
        (trained / "loss.png", "the loss, step by step"),
        (out / "bench.jsonl", "the bench table above, as a row"),
    ):
        console.print(f"  {path}  [dim]{what}[/]", soft_wrap=True, highlight=False)
