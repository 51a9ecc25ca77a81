"""`david bench tune`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from david.bench.keep import keep
from david.bench.options import RESULTS, RecipeName
from david.pack.files import require_place
from david.pack.options import AsJson, Device, Ranks, Settings, aside

if TYPE_CHECKING:
    from david.bench.result import Result

console = Console()


def tune(
    shards: Annotated[Path, typer.Option("--shards", metavar="DIR", help="A shard set's folder to measure on.")],
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File to write, which --tuned of train and pack takes.")
    ] = Path("tuned.json"),
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", min=0.01, help="Time to search in.")] = 5.0,
    raw: Annotated[
        Path | None, typer.Option("--raw", metavar="RAW", help="Raw samples: tune how many processes pack, too.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Measure each candidate, too, to tell how near the best it comes.")
    ] = False,
    device: Device = "auto",
    nproc: Ranks = 1,
    rows: Annotated[
        Path, typer.Option("--rows", metavar="FILE", help="File of JSON rows to add this one to.")
    ] = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Find the settings that train and pack fastest here.

    Loader threads, prefetch, what decodes for a GPU; where results stay the same but for rounding, images computed at
    once and, on a GPU, torch.compile; with --raw, processes that pack. The defaults stay unless others are faster by
    more than noise. Batch, order, augmentation and seed are never touched.
    """
    from david.train import first_look, recipes
    from david.train.recipe import override

    chosen = override(recipes.recipe(recipe), assignments or [])
    first_look.at_shards([str(shards)])
    if raw is not None:
        from david.pack.sources import table

        table.chosen(raw).scan(raw)
    require_place(out)

    from david.bench.tune import suite  # torch, timm, DALI
    from david.train import distributed

    how: dict[str, Any] = {"recipe": chosen, "shards": shards, "out": out, "minutes": minutes, "device": device}
    how |= {"raw": raw, "every": every}

    def result() -> "Result":
        return suite.measure(**how) if nproc == 1 else distributed.launch(nproc, suite.measure, **how)

    leads = distributed.place(os.environ).rank == 0
    keep(result, rows, as_json, leads=leads)
    if leads:
        with aside(as_json):
            console.print(f"david train --tuned {out} takes it", soft_wrap=True, highlight=False)
