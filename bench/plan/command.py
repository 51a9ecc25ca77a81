"""`david bench plan` and `david bench reduce`."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from david.bench.keep import keep
from david.bench.options import LATENCY_US, NETWORK_GB, RESULTS, Out, RecipeName, Rounds
from david.pack import tables
from david.pack.errors import DavidError
from david.pack.options import AsJson, Device, Ranks, Settings

if TYPE_CHECKING:
    from david.bench.result import Result

console = Console()


def plan(
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", min=1, help="GPUs of all nodes together.")],
    nodes: Annotated[int, typer.Option("--nodes", metavar="N", min=1, help="Machines that they are in.")] = 1,
    recipe: RecipeName = "david-large",
    assignments: Settings = None,
    shards: Annotated[
        Path | None,
        typer.Option("--shards", metavar="DIR", help="The shard set.", show_default="SynthHuman, as published"),
    ] = None,
    rows: Annotated[
        list[Path] | None,
        typer.Option("--rows", metavar="FILE", help="Measured rows; repeatable.", show_default="bench/results"),
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", metavar="NAME", help="The GPU; cpu for ranks on CPUs.")] = "A100",
    mfu: Annotated[
        float, typer.Option("--mfu", metavar="N", min=0.001, max=1, help="Share of the peak that is assumed.")
    ] = 0.16,
    cores: Annotated[int, typer.Option("--cores", metavar="N", min=1, help="Cores for each GPU.")] = 12,
    link: Annotated[
        float, typer.Option("--link", metavar="N", min=0.01, help="GB/s of a GPU to others of its node.")
    ] = 200.0,
    network: Annotated[
        float, typer.Option("--network", metavar="N", min=0.01, help="GB/s of a node to others.")
    ] = NETWORK_GB,
    latency: Annotated[
        float, typer.Option("--latency", metavar="N", min=0, help="Microseconds of a step of a sum over ranks.")
    ] = LATENCY_US,
    storage: Annotated[
        float, typer.Option("--storage", metavar="N", min=0.001, help="GB/s that a node reads shards at.")
    ] = 2.0,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Plan a training: time, storage, network, and what bounds it.

    From measured rows where some fit, from stated assumptions elsewhere. Each number says which, and from where; what
    no row tells is named, with the command that would measure it.
    """
    if gpus % nodes:
        raise DavidError(f"--gpus {gpus}: can't be shared by {nodes} nodes; choose a multiple")
    from david.train import recipes
    from david.train.recipe import override

    chosen = override(recipes.recipe(recipe), assignments or [])
    if chosen.batch_size % gpus:
        raise DavidError(
            f"--gpus {gpus}: a batch of {chosen.batch_size} can't be shared by them; add --set "
            f"batch_size={-(-chosen.batch_size // gpus) * gpus}"
        )
    from david.bench.plan import data, forecast, lookup, show

    kept = lookup.read(rows)
    machine = forecast.Machine(gpus, nodes, gpu, mfu, cores, 1e9 * link, 1e9 * network, 1e-6 * latency, 1e9 * storage)
    found = forecast.forecast(chosen, data.of(shards, kept), machine, kept)
    if as_json:
        print(json.dumps(show.as_json(found), indent=2))
        return
    tables.show(console, show.table(found))
    for sentence in show.sentences(found):
        console.print(sentence, soft_wrap=True, markup=False, highlight=False)


def reduce(
    rounds: Rounds = 3, device: Device = "auto", nproc: Ranks = 1, out: Out = RESULTS, as_json: AsJson = False
) -> None:
    """Measure how long ranks take to sum, by size.

    What `david bench plan` fits its model of more ranks to.
    """
    from david.bench.suites import reduce as suite
    from david.train import distributed

    how: dict[str, Any] = {"rounds": rounds, "device": device}

    def result() -> "Result":
        return suite.measure(**how) if nproc == 1 else distributed.launch(nproc, suite.measure, **how)

    keep(result, out, as_json, leads=distributed.place(os.environ).rank == 0)
