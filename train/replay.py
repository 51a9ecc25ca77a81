"""`david replay` and `david verify-run`; `past.py` and `bundle.py` do the work."""

from pathlib import Path
from typing import Annotated

import typer

from david.pack import tables
from david.pack.options import Device
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB, TrainedOn

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.")]


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)
    app.command("verify-run")(verify_run)


def replay(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A run's folder.")] = None,
    shards: TrainedOn = None,
    step: Annotated[int | None, typer.Option(metavar="N", min=1, help="Step to make again.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead, a step that was not finite: RUN/bad/step-N.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write to.", show_default="replay in the run's folder")
    ] = None,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    device: Device = "auto",
) -> None:
    """Make the batch of any past step again, as it was.

    Writes it, augmented as then, as a sheet of pictures and as tensors. With --bundle, compute a step that was not
    finite again: its losses then and now, and which samples are to blame.
    """
    from david.train import first_look

    if bundle is not None:
        first_look.at_bundle(bundle)
        return _compute_again(bundle, device)
    if run is None or step is None:
        raise typer.BadParameter("name a run and a --step, or a --bundle", param_hint="RUN / --bundle")
    first_look.before_replaying(run, shards)
    from david.train.record import past
    from david.train.run import shards_of

    made = past.replay(run, shards_of(run, shards, cache, cache_gb), step, out or run / "replay")
    known = "as in the ledger" if made.recorded else "a step that the ledger does not have yet"
    typer.echo(f"step {step}, epoch {made.epoch}: {made.samples} samples, {known}")
    typer.echo(f"{made.picture}\n{made.tensors}")


def _compute_again(folder: Path, device: str) -> None:
    from rich.console import Console

    from david.train import distributed
    from david.train.record import bundle

    step, ranks = bundle.replay(folder, distributed.device_of(device, 0))
    losses = ("then", "now")
    table = tables.table("rank", "term", *losses, title=f"step {step}: each rank's share of the loss", right=losses)
    for rank, again in enumerate(ranks):
        for term, before in again.before.items():
            table.add_row(str(rank), term, f"{before:.9g}", f"{again.now[term]:.9g}")
    tables.show(Console(), table)
    for rank, again in enumerate(ranks):
        for sample, terms in again.culprits.items():
            typer.echo(f"rank {rank}, sample {sample}: {', '.join(terms)} not finite")
        if not again.finite and not again.culprits:
            typer.echo(f"rank {rank}: the losses are finite, their gradient is not")
    same = all(again.same for again in ranks)
    typer.echo("the same losses, to the bit" if same else "other losses than then: another device, or other versions")


def verify_run(
    run: Run,
    shards: TrainedOn = None,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
) -> None:
    """Prove that a run took each sample exactly once an epoch."""
    from david.train import first_look

    first_look.before_replaying(run, shards)

    from david.train.record import past
    from david.train.run import shards_of

    folders = shards_of(run, shards, cache, cache_gb)
    found = past.verify(run, folders)
    typer.echo(f"{found.steps} steps as the order has them")
    for number, walk in enumerate(found.walks):
        line = f"{folders[number]}: " if len(found.walks) > 1 else ""
        line += f"{walk.epochs} whole epochs, each with {walk.covered} of {walk.samples} samples exactly once"
        if walk.covered < walk.samples:
            line += f" ({walk.samples - walk.covered} left over, too few for a batch)"
        if walk.begun:
            line += f"; {walk.begun} samples of epoch {walk.epochs} so far, none twice"
        typer.echo(line)
