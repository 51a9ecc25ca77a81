"""`david replay` and `david verify-run`; `past.py` does the work."""

from pathlib import Path
from typing import Annotated

import typer

Run = Annotated[Path, typer.Argument(help="A run's folder, as `david train` made it.")]
Shards = Annotated[Path, typer.Option(help="The shard set that it was trained on.")]


def register(app: typer.Typer) -> None:
    app.command("replay")(replay)
    app.command("verify-run")(verify_run)


def replay(
    run: Run,
    shards: Shards,
    step: Annotated[int, typer.Option(min=1, help="The optimiser step, as journal and ledger count.")],
    out: Annotated[Path | None, typer.Option(help="Where to write.  [default: replay/ in the run's folder]")] = None,
) -> None:
    """Make the batch of any past step again, augmented as it was, as a sheet of pictures and as tensors."""
    from david.train import past

    made = past.replay(run, shards, step, out or run / "replay")
    known = "as in the ledger" if made.recorded else "a step that the ledger does not have yet"
    typer.echo(f"step {step}, epoch {made.epoch}: {made.samples} samples, {known}")
    typer.echo(f"{made.picture}\n{made.tensors}")


def verify_run(run: Run, shards: Shards) -> None:
    """Prove from the ledger that every sample was trained on exactly once an epoch."""
    from david.train import past

    found = past.verify(run, shards)
    told = f"{found.steps} steps as the order has them"
    if found.epochs:
        told += f"; {found.epochs} whole epochs, each with {found.covered} of {found.samples} samples exactly once"
    if found.dropped:
        told += f" ({found.samples - found.covered} left over, too few for a batch)"
    if found.begun:
        told += f"; {found.begun} samples of epoch {found.epochs} so far, none twice"
    typer.echo(told)
