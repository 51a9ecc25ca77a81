"""`david bench` and `david quickstart`."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from david.pack.options import AsJson, aside

Shards = Annotated[Path, typer.Option(help="a shard set, as `david pack` made it")]
RecipeName = Annotated[str, typer.Option(help="its batch, network and step are measured; `david recipes` lists them")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="change a field of the recipe; repeatable")
]
Batches = Annotated[int, typer.Option(min=1, help="batches that each measurement takes")]
Rounds = Annotated[int, typer.Option(min=1, help="turns that each contender gets")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Out = Annotated[Path, typer.Option(help="file of JSON rows to add this one to")]
RESULTS = Path("runs/bench.jsonl")

console = Console()
bench = typer.Typer(help="Measure where training's time goes.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(bench, name="bench")
    app.command()(quickstart)


@bench.callback()
def everything(
    context: typer.Context,
    shards: Annotated[Path | None, typer.Option(help="a shard set, as `david pack` made it")] = None,
    recipe: RecipeName = "smoke",
    assignments: Assignments = None,
    batches: Batches = 20,
    rounds: Rounds = 3,
    device: Device = "auto",
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure the loader alone, the step alone and both together, and say what bounds training here."""
    if context.invoked_subcommand is None:
        if shards is None:
            raise typer.BadParameter("name a shard set to measure on", param_hint="--shards")
        _measure(
            "training", ("load", "step", "both"), shards, recipe, assignments, batches, rounds, device, out, as_json
        )
    elif shards is not None:
        raise typer.BadParameter(f"stands behind the suite: david bench {context.invoked_subcommand} --shards {shards}")


@bench.command()
def load(
    shards: Annotated[Path | None, typer.Option(help="a shard set, as `david pack` made it")] = None,
    recipe: RecipeName = "smoke",
    assignments: Assignments = None,
    batches: Batches = 20,
    rounds: Rounds = 3,
    device: Device = "auto",
    peers: Annotated[
        Path | None, typer.Option(metavar="RAW", help="compare with other loaders, on the samples of this raw folder")
    ] = None,
    samples: Annotated[int, typer.Option(min=32, help="samples of RAW that are compared on; fewer are repeated")] = 200,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Samples/s of the loader alone, and how busy each of its stages is; or of other loaders beside it."""
    if peers is not None:
        _scan(peers)
        from david.bench import loaders

        _keep(lambda: loaders.measure(peers, samples, batches, rounds, console), out, as_json)
    elif shards is not None:
        _measure("load", ("load",), shards, recipe, assignments, batches, rounds, device, out, as_json)
    else:
        raise typer.BadParameter("name a shard set to measure on, or raw samples behind --peers", param_hint="--shards")


@bench.command()
def step(
    shards: Shards,
    recipe: RecipeName = "smoke",
    assignments: Assignments = None,
    batches: Batches = 20,
    rounds: Rounds = 3,
    device: Device = "auto",
    raw: Annotated[
        Path | None, typer.Option(help="what the shards were packed from: compare with a plain trainer on raw files")
    ] = None,
    nproc: Annotated[int, typer.Option(min=1, help="ranks to start on this machine")] = 1,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Samples/s of the step alone and with its data, ms of each of its parts, its share of the device's matrix rate."""
    contenders = ("step", "parts", "both", *(("plain",) if raw else ()))
    _measure("step", contenders, shards, recipe, assignments, batches, rounds, device, out, as_json, raw, nproc)


@bench.command()
def pack(
    raw: Annotated[Path, typer.Argument(help="a folder of SynthHuman zips, of unzipped samples, of both; or one zip")],
    samples: Annotated[int, typer.Option(min=8, help="samples that each turn packs; fewer are repeated")] = 400,
    rounds: Rounds = 3,
    workers: Annotated[int | None, typer.Option(min=1, help="processes  \\[default: all cores]")] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="RGB lossless")] = False,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Samples/s of packing, against the C codecs alone and against a plain loop."""
    _scan(raw)
    from david.bench import packing

    _keep(lambda: packing.measure(raw, samples, rounds, workers, lossless, console), out, as_json)


@bench.command()
def learn(
    work: Annotated[Path, typer.Argument(help="folder for data and run; of one that holds them it goes on")] = Path(
        "runs/learn"
    ),
    samples: Annotated[int, typer.Option(min=20, help="samples to make; a tenth is held out")] = 2222,
    steps: Annotated[int, typer.Option(min=1, help="training steps")] = 400,
    recipe: RecipeName = "smoke",
    assignments: Assignments = None,
    device: Device = "auto",
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """What a recipe learns from samples made on the spot, measured on others, beside a constant answer; ten minutes."""
    from david.train import recipes
    from david.train.recipe import override

    resolved = override(recipes.recipe(recipe), assignments or [])

    from david.bench import learning

    _keep(lambda: learning.measure(work, samples, steps, resolved, device, console), out, as_json)
    learning.picture(work, steps, picture := out.with_name("learn.jpg"))
    with aside(as_json):
        console.print(f"{picture}: held-out samples after the last step", soft_wrap=True, highlight=False)


def _measure(
    suite: str,
    contenders: tuple[str, ...],
    shards: Path,
    recipe: str,
    assignments: list[str] | None,
    batches: int,
    rounds: int,
    device: str,
    out: Path,
    as_json: bool,
    raw: Path | None = None,
    nproc: int = 1,
) -> None:
    from david.train import first_look, recipes
    from david.train.recipe import override

    chosen = override(recipes.recipe(recipe), assignments or [])
    first_look.at_shards([str(shards)])

    from david.bench import training  # torch, timm, DALI
    from david.train import distributed

    how = {
        **{"suite": suite, "contenders": contenders, "recipe": chosen},
        **{"shards": shards, "batches": batches, "rounds": rounds, "device": device, "raw": raw},
    }
    measure = training.measure_as_rank

    def row() -> dict[str, Any]:
        return measure(**how) if nproc == 1 else distributed.launch(nproc, measure, **how)

    _keep(row, out, as_json, leads=distributed.place(os.environ).rank == 0)


def _scan(raw: Path) -> None:
    """Raise DavidError where there are no raw samples."""
    from david.pack.sources import synthhuman

    synthhuman.scan(raw)


def _keep(measure: Callable[[], dict[str, Any]], out: Path, as_json: bool, leads: bool = True) -> None:
    """Measure, and add the row to the file `out`; where JSON is asked for, print it too. Ranks that do not lead keep
    nothing."""
    from david.bench import rows

    with aside(as_json):
        row = measure()
        if leads:
            rows.append(out, row)
            console.print(f"row added to {out}", soft_wrap=True)
    if leads and as_json:
        print(json.dumps(row, indent=2))


def quickstart(
    out: Annotated[Path, typer.Argument(help="folder for all that it makes")] = Path("quickstart"),
    samples: Annotated[int, typer.Option(min=40, help="samples to make")] = 300,
    steps: Annotated[int | None, typer.Option(min=1, help="training steps  \\[default: the smoke recipe's]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="another seed, other people")] = 0,
) -> None:
    """The main job on data made on the spot: synth, pack, train, bench, pictures; minutes on a laptop."""
    from david.bench.quickstart import run

    run(out, samples, steps, seed, console)
