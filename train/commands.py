"""`david train`, `david recipes` and `david plot`; `replay.py` and `use/` have the others here."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from david.pack import tables
from david.pack.files import require_place
from david.pack.options import AsJson, Device, Ranks, Settings, TunedFile
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB, MaybeShardNames
from david.train.labels.command import register as register_label
from david.train.replay import register as register_replay
from david.train.signals import PATIENCE_S, BetweenSteps
from david.train.use.demo import register as register_demo
from david.train.use.evaluate import register as register_eval
from david.train.use.export import register as register_export
from david.train.use.predict import register as register_predict
from david.train.use.view import register as register_view


def register(app: typer.Typer) -> None:
    app.command("train")(train)
    app.command("recipes")(list_recipes)
    app.command("plot")(plot)
    register_replay(app)
    register_eval(app)
    register_predict(app)
    register_label(app)
    register_export(app)
    register_view(app)
    register_demo(app)


def train(
    context: typer.Context,
    shards: MaybeShardNames = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A recipe's name, or your own as FILE.py[:FUNCTION].", show_default="smoke"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="The run's folder; one that holds a run goes on.", show_default="runs/RECIPE-HASH"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="End after this step; more than the recipe's stretch its schedule."),
    ] = None,
    assignments: Settings = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Samples of a step over all ranks; auto: compute as many at once as memory holds.",
            show_default="the recipe's",
        ),
    ] = None,
    tuned_file: TunedFile = None,
    nproc: Ranks = 1,
    backbone_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of timm weights to begin with.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="Fine-tune the weights of a run's folder, a checkpoint's, or a file."
        ),
    ] = None,
    track: Annotated[
        list[str] | None, typer.Option(metavar="wandb|mlflow", help="Tell this tracker too; repeatable.")
    ] = None,
    patience: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="How long a rank may give no sign of life before the others end."),
    ] = PATIENCE_S,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    device: Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be trained, where and from which step; write nothing.")
    ] = False,
) -> None:
    """Train a recipe on shard sets, or go on with a run.

    Shard sets are folders or addresses (https://, s3://, gs://, hf://): several make one epoch over all, or shares by
    --set data.weights=3,1. A run that goes on knows its shard sets. Without --out, the folder's hash is of all that
    must not change, so the same command goes on.

    --batch-size N is the samples of an optimiser step. `auto` leaves the recipe's and only finds how many of them to
    compute at once, so results stay the recipe's but for rounding. With --from RUN that run's recipe is the default.

    Alone it is one process, with --nproc several; under torchrun or Slurm it joins the ranks there. SIGINT, SIGTERM
    and SIGUSR1 save a checkpoint and leave with exit code 75: the same command goes on. A second SIGINT leaves at once.
    A rank is missed (--patience) where it is stopped or its machine is gone, however long its steps take.
    """
    context.with_resource(BetweenSteps())

    from david.pack import tuned as tuned_files
    from david.pipeline.reading import sets
    from david.train import first_look, recipes, run, writers
    from david.train.start import Start

    tuned = tuned_files.read(tuned_file) if tuned_file else None
    chosen = recipes.recipe(recipe) if recipe else None
    fit, assignments = batch_size == "auto", assignments or []
    if batch_size and not fit:
        assignments.append(f"batch_size={batch_size}")
    if not shards and (out is None or run.stored(out) is None):
        raise typer.BadParameter("name a shard set, or a run that goes on with --out", param_hint="--shards")
    writers.check(tuple(track or ()))
    begin = Start(start_from, backbone_weights)
    default = begin.recipe() or recipes.recipe("smoke")
    first_look.before_training(chosen or default, assignments, shards or (), begin, out)
    if out and not dry_run:
        require_place(out)

    from david.train import distributed, identity, loop  # torch and timm: seconds, that no refusal waits for
    from david.train.forecast import forecast
    from david.train.metrics import table
    from david.train.recipe import to_json
    from david.train.signals import EXIT_STOPPED, Stopped
    from david.train.step import attention, decoding
    from david.train.step import tuned as tuning
    from david.train.step.gradients import settled
    from david.train.tasks import table as tasks

    if dry_run and (cache or not any("://" in name for name in shards or ())):  # manifests come from addresses, too
        cache = Path(context.with_resource(tempfile.TemporaryDirectory()))
    folders = run.shards_of(out, shards, cache, cache_gb) if out else sets.located(shards or (), cache, cache_gb)
    folder, resolved, fit = identity.resolve(out, chosen, default, assignments, steps or 1, folders, begin, fit)
    on, place = distributed.device_of(device, 0), distributed.place(os.environ)
    resolved = replace(settled(resolved, on), objective=tasks.settled(resolved.objective))
    begun, notes = run.stored(folder), []
    begins = begun is None
    if tuned:
        given = [one.partition("=")[0].strip() for one in assignments] + ["micro_batch"] * fit
        where = tuning.Place(max(nproc, place.size), on, sets.load(folders).fingerprint)
        resolved, said = tuning.applied(tuned, resolved, given, begun.recipe if begun else None, where)
        notes.append(said)
    decoding.require(resolved, on)
    attention.require(resolved, on)
    if begins and chosen is None and start_from is None:
        notes.append("no --recipe: this trains `smoke`, a toy for a first look; `david recipes` lists the others")
    if fit and resolved.parallel == "exact":
        notes.append("--batch-size auto: nothing to find, parallel=exact computes one sample at a time")
        fit = False
    if out is None:
        notes.append(f"no --out: the run's folder is {folder}; the same command goes on there")
    if dry_run:
        found = forecast(resolved, folders, folder, steps, max(nproc, place.size))
        if place.rank == 0:
            typer.echo("".join(f"{line}\n" for line in ("A dry run: nothing is written.", *notes)), nl=False)
            tables.tell(Console(), found)
        return
    how = {
        "stop": steps,
        "device": device,
        "begin": begin,
        "fit": fit,
        "track": tuple(track or ()),
        "notes": tuple(notes),
        "patience_s": patience,
    }
    try:
        if nproc == 1:
            finished = loop.train(resolved, folders, folder, **how)
        else:
            run.check(resolved, folders, folder, nproc)
            given = {"recipe": to_json(resolved), "own": recipe, "shards": folders, "out": folder}
            finished = distributed.launch(nproc, as_rank, **given, **how)
    except Stopped as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(EXIT_STOPPED) from stopped
    if place.rank == 0:
        if finished.metrics:
            tables.show(Console(), table.table(finished.metrics))
        typer.echo(f"step {finished.step}: {finished.out}")


def as_rank(recipe: dict[str, Any], own: str | None, **how: Any) -> Any:
    """`loop.train` in a process that was started to be a rank.

    own: the recipe as --recipe named it: a file of the user's own may have added to the tables that this one needs"""
    from david.train import loop, recipes
    from david.train.recipe import from_json

    if own:
        recipes.recipe(own)
    return loop.train(from_json(recipe), **how)


def list_recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Print this one whole; your own as FILE.py[:FUNCTION].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the recipes, or print one as JSON.

    The dotted paths of its fields are what --set takes.
    """
    from david.train import recipes
    from david.train.recipe import to_json
    from david.train.recipes import listing

    if name is not None:
        typer.echo(json.dumps(to_json(recipes.recipe(name)), indent=2))
    elif as_json:
        typer.echo(json.dumps(listing.rows(), indent=2))
    else:
        listing.show()


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs' folders, drawn over each other.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write.")] = Path("curves.png"),
) -> None:
    """Draw losses, metrics and pace of runs over their steps."""
    from david.train.record import curves

    curves.compare(runs, out)
    typer.echo(str(out))
