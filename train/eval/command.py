"""`david eval`: how good a run's network, or a file's, is on the samples of a split."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from david.pack import tables
from david.pack.options import AsJson, Device, Ranks, aside
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    shards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|URL",
            help="A shard set to measure on; repeatable.",
            show_default="what the run was trained on",
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="A run's folder.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Instead of a run, a file of weights or a checkpoint's folder."),
    ] = None,
    split: Annotated[str, typer.Option(metavar="train|val", help="Split to measure on.")] = "val",
    checkpoint: Annotated[
        str, typer.Option(metavar="N|newest|best", help="Checkpoint of the run to take, by its step or as said.")
    ] = "newest",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder to write to.", show_default="eval-SPLIT in the run's or file's folder"
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="N", help="Height of images, in pixels.", show_default="the run's or samples'")
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Width of images, in pixels.", show_default="the run's or samples'")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compute in auto, fp32, bf16 or fp16.", show_default="the run's, else auto"),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Samples at once, over all ranks.")] = 16,
    worst: Annotated[int, typer.Option(metavar="N", min=0, help="Samples on each sheet of worst cases.")] = 8,
    nproc: Ranks = 1,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a network on each sample of a split.

    Prints a table and writes metrics.json, samples.csv and a sheet of the worst cases of each head. The network is that
    of a run (--run) or of a file (--weights).
    """
    from rich.console import Console

    from david.pack.files import require_place
    from david.pipeline.reading import sets
    from david.train import first_look
    from david.train.run import shards_of
    from david.train.subject import of_path, of_run

    if (run is None) == (weights is None):
        raise typer.BadParameter("name either a run or a file of weights", param_hint="--run / --weights")
    if run is None and not shards:
        raise typer.BadParameter("a file of weights does not say what to measure it on", param_hint="--shards")
    first_look.at_shards(shards or [])
    subject = of_run(run, checkpoint) if run else of_path(weights or Path())
    if height is not None or width is not None:
        subject = replace(subject, data=replace(subject.data, height=height, width=width))
    if precision is not None:
        subject = replace(subject, precision=precision)
    folders = shards_of(run, shards, cache, cache_gb) if run else sets.located(shards or [], cache, cache_gb)
    sets.load(folders).counts(split)
    out = out or subject.folder / f"eval-{split}"
    require_place(out)

    from david.train import distributed  # torch and timm: seconds, that no refusal waits for
    from david.train.eval import measure, report

    how: dict[str, Any] = {
        **{"subject": subject, "shards": folders, "split": split, "batch_size": batch_size, "worst": worst},
        **{"out": out, "device": device},
    }
    with aside(as_json):
        scores = measure.measure(**how) if nproc == 1 else distributed.launch(nproc, measure.measure, **how)
    if distributed.place(os.environ).rank == 0:
        console = Console(stderr=as_json)
        title = f"{subject.name} on {len(scores.ids)} samples of `{split}`, in {scores.precision}"
        tables.show(console, report.table(title, scores))
        console.print(f"{out}", soft_wrap=True, highlight=False)
        if as_json:
            print((out / report.METRICS_JSON).read_text(), end="")
