"""`david eval`: how good a run's network, or a file's, is on the samples of a split."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from david.pack.options import AsJson, aside
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    shards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER|URL",
            help="The shard set to measure on; repeatable.  \\[default: what the run was trained on]",
        ),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run's folder, as `david train` made it.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Or a file of weights, RUN/weights.safetensors or a checkpoint's, or its folder."),
    ] = None,
    split: Annotated[str, typer.Option(help="train or val.")] = "val",
    checkpoint: Annotated[
        str, typer.Option(help="Which of the run's: a step, newest, or best by the recipe's `best`.")
    ] = "newest",
    out: Annotated[
        Path | None, typer.Option(help="Where to write.  \\[default: eval-SPLIT/ in RUN, or in a folder named as FILE]")
    ] = None,
    height: Annotated[
        int | None, typer.Option(help="Of the images.  \\[default: the run's, else the samples']")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Likewise.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="What the network computes in: auto, fp32, bf16 or fp16.  \\[default: the run's, else auto]"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at once, over all ranks.")] = 16,
    worst: Annotated[int, typer.Option(min=0, help="Samples on each sheet of worst cases.")] = 8,
    nproc: Annotated[int, typer.Option(min=1, help="Ranks to start on this machine.")] = 1,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a network on a split, each sample once: a table, metrics.json, samples.csv, sheets of the worst cases."""
    from david.train import first_look

    first_look.before_evaluating(run, weights, shards)

    from rich.console import Console

    from david.pipeline import sets
    from david.train import distributed
    from david.train.eval import measure, report
    from david.train.eval.subject import of_path, of_run
    from david.train.precision import known
    from david.train.run import shards_of

    if (run is None) == (weights is None):
        raise typer.BadParameter("name either a run or a file of weights", param_hint="--run / --weights")
    subject = of_run(run, checkpoint) if run else of_path(weights or Path())
    if height is not None or width is not None:
        subject = replace(subject, data=replace(subject.data, height=height, width=width))
    if precision is not None:
        subject = replace(subject, precision=known(precision))
    if run is None and not shards:
        raise typer.BadParameter("a file of weights does not say what to measure it on", param_hint="--shards")
    folders = shards_of(run, shards, cache, cache_gb) if run else sets.located(shards or [], cache, cache_gb)
    how: dict[str, Any] = {
        **{"subject": subject, "shards": folders, "split": split, "batch_size": batch_size, "worst": worst},
        **{"out": out or subject.folder / f"eval-{split}", "device": device},
    }
    with aside(as_json):
        scores = measure.measure(**how) if nproc == 1 else distributed.launch(nproc, measure.measure, **how)
    if distributed.place(os.environ).rank == 0:
        console = Console(stderr=as_json)
        title = f"{subject.name} on {len(scores.ids)} samples of `{split}`, in {scores.precision}"
        console.print(report.table(title, scores))
        console.print(f"{how['out']}", soft_wrap=True, highlight=False)
        if as_json:
            print((how["out"] / report.METRICS_JSON).read_text(), end="")
