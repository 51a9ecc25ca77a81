"""`david quickstart`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def quickstart(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for all that it makes.")] = Path("quickstart"),
    samples: Annotated[int, typer.Option(metavar="N", min=40, help="Samples to make.")] = 300,
    steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Training steps.", show_default="the smoke recipe's")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed makes other people.")] = 0,
) -> None:
    """Do the main job once on drawn data, in minutes on a laptop.

    That is: synth, pack, train, bench and pictures.
    """
    from david.bench.quickstart import run

    run(out, samples, steps, seed, console)
