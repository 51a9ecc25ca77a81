"""What command lines of several rooms say in the same words."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

MOST_WORKERS = 1024  # processes of one command: more is a slip of the pen, which would take hours to start
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output, all else on stderr.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="What to compute on.")]
Ranks = Annotated[int, typer.Option("--nproc", metavar="N", min=1, help="Ranks to start on this machine.")]
Raw = Annotated[
    Path, typer.Argument(metavar="RAW", help="A folder of SynthHuman zips or of unzipped samples, or one zip.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field of the recipe; repeatable.")
]
TunedFile = Annotated[
    Path | None,
    typer.Option("--tuned", metavar="FILE", help="Take what `david bench tune` found; what is said here wins."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", metavar="N", min=1, max=MOST_WORKERS, help="Processes to work in.", show_default="all cores"
    ),
]


@contextmanager
def aside(as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, all that is printed meanwhile goes to the standard error stream: by Python, by
    libraries, and by processes that are started."""
    if not as_json:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
