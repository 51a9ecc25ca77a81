"""Options that suites share."""

from pathlib import Path
from typing import Annotated

import typer

RecipeName = Annotated[str, typer.Option(metavar="NAME", help="Recipe whose batch, network and step are measured.")]
Batches = Annotated[int, typer.Option(metavar="N", min=1, help="Batches that each measurement takes.")]
Rounds = Annotated[int, typer.Option(metavar="N", min=1, help="Turns that each contender gets.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="File of JSON rows to add this one to.")]
RESULTS = Path("runs/bench.jsonl")
NETWORK_GB, LATENCY_US = 25.0, 10.0  # a node's to others, a second, and of a step of a sum over ranks: what is assumed
