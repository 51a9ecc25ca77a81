"""`david bench`, `david doctor` and `david quickstart`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from david.bench.campaign.command import campaign
from david.bench.compare.command import compare
from david.bench.counts_command import counts
from david.bench.doctor.command import doctor
from david.bench.explain.command import explain
from david.bench.keep import keep
from david.bench.options import RESULTS, Batches, Out, RecipeName, Rounds
from david.bench.plan.command import plan, reduce
from david.bench.quickstart_command import quickstart
from david.bench.scale.command import scale
from david.bench.tune.command import tune
from david.pack.errors import DavidError
from david.pack.options import AsJson, Device, Ranks, Raw, Settings, Workers, aside

if TYPE_CHECKING:
    from david.bench.result import Result

_SHARDS = typer.Option("--shards", metavar="DIR", help="A shard set's folder to measure on.")
Shards = Annotated[Path, _SHARDS]
MaybeShards = Annotated[Path | None, _SHARDS]

console = Console()
bench = typer.Typer(help="Measure where training's time goes.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    app.add_typer(bench, name="bench")
    bench.command()(counts)
    bench.command()(campaign)
    bench.command()(compare)
    for one in (explain, plan, reduce, scale, tune):
        bench.command()(one)
    app.command()(doctor)
    app.command()(quickstart)


@bench.callback()
def everything(
    context: typer.Context,
    shards: MaybeShards = None,
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
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
    shards: MaybeShards = None,
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    batches: Batches = 20,
    rounds: Rounds = 3,
    device: Device = "auto",
    peers: Annotated[
        Path | None, typer.Option(metavar="RAW", help="Compare with other loaders on the samples of this raw folder.")
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", min=32, help="Samples of RAW to compare on; fewer are repeated.")
    ] = 200,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure the loader alone, or beside other loaders.

    Samples/s, and how busy each of its stages is; of SHARDS+SIDECAR beside SHARDS alone.
    """
    if peers is not None:
        _scan(peers)
        from david.bench.suites import peers as suite

        keep(lambda: suite.measure(peers, samples, batches, rounds, console), out, as_json)
    elif shards is not None:
        from david.pipeline.reading import sets

        contenders = ("load", "bare") if len(sets.parts(shards)) > 1 else ("load",)
        _measure("load", contenders, shards, recipe, assignments, batches, rounds, device, out, as_json)
    else:
        raise typer.BadParameter("name a shard set to measure on, or raw samples behind --peers", param_hint="--shards")


@bench.command()
def step(
    shards: Shards,
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    batches: Batches = 20,
    rounds: Rounds = 3,
    device: Device = "auto",
    raw: Annotated[
        Path | None, typer.Option(metavar="RAW", help="What was packed: compare with a plain trainer on raw files.")
    ] = None,
    nproc: Ranks = 1,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure the step alone, its parts, and with its data.

    Samples/s, ms of each part, and its share of the device's matrix rate.
    """
    contenders = ("step", "parts", "both", *(("plain",) if raw else ()))
    _measure("step", contenders, shards, recipe, assignments, batches, rounds, device, out, as_json, raw, nproc)


@bench.command()
def pack(
    raw: Raw,
    samples: Annotated[
        int, typer.Option(metavar="N", min=8, help="Samples that each turn packs; fewer are repeated.")
    ] = 400,
    rounds: Rounds = 3,
    workers: Workers = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Pack RGB lossless.")] = False,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure packing beside its codecs alone and a plain loop.

    Samples/s of each.
    """
    _scan(raw)
    from david.bench.suites import pack as suite

    keep(lambda: suite.measure(raw, samples, rounds, workers, lossless, console), out, as_json)


@bench.command()
def learn(
    work: Annotated[
        Path, typer.Argument(metavar="WORK", help="Folder for data and run; with what it holds, it goes on.")
    ] = Path("runs/learn"),
    samples: Annotated[int, typer.Option(metavar="N", min=20, help="Samples to make; a tenth is held out.")] = 2222,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Training steps.")] = 400,
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    device: Device = "auto",
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure what a recipe learns from drawn samples, on others.

    Beside the answer that a constant gives; ten minutes.
    """
    from david.train import recipes
    from david.train.recipe import override

    resolved = override(recipes.recipe(recipe), assignments or [])

    from david.bench.suites import learn as suite

    keep(lambda: suite.measure(work, samples, steps, resolved, device, console), out, as_json)
    suite.picture(work, steps, picture := out.with_name("learn.jpg"))
    with aside(as_json):
        console.print(f"{picture}: held-out samples after the last step", soft_wrap=True, highlight=False)


@bench.command("predict")
def predict(
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="Pictures to predict.", show_default="made on the spot"),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="FILE", help="ONNX file to run.", show_default="an untrained david-smoke"),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="Pictures of each turn; fewer are repeated.")
    ] = 200,
    megapixels: Annotated[float, typer.Option(metavar="N", min=0.01, help="Size of pictures that are made.")] = 12.0,
    save: Annotated[
        list[str] | None,
        typer.Option(
            "--save",
            metavar="NAME",
            help="What both write: picture, depth, normals or alpha.",
            show_default="picture",
        ),
    ] = None,
    cores: Annotated[
        list[int] | None,
        typer.Option("--cores", metavar="N", min=1, help="Cores of a turn; repeatable.", show_default="1 and 2"),
    ] = None,
    rounds: Rounds = 3,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure predicting beside a loop as the official demo's.

    Images/s, latency and memory of each, with as many cores, the same ONNX file and the same files written.
    """
    from david.model.predict import outputs

    saves = outputs.chosen(save)
    for path, expected in ((images, "a folder of pictures"), (onnx, "an ONNX file")):
        if path is not None and not path.exists():
            raise DavidError(f"{path}: no such file or folder; expected {expected}")

    from david.bench.suites import predict as suite

    on = tuple(cores or ())
    keep(lambda: suite.measure(images, onnx, count, megapixels, saves, rounds, console, on), out, as_json)


@bench.command()
def steady(
    weights: Annotated[
        str, typer.Option("--weights", metavar="NAME", help="A run, a file of weights, an ONNX file or user/name.")
    ],
    frames: Annotated[int, typer.Option(metavar="N", min=2, help="Frames of each clip.")] = 48,
    clips: Annotated[int, typer.Option(metavar="N", min=1, help="Clips, each of another person.")] = 3,
    device: Device = "auto",
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:
    """Measure how much less depth flickers with --steady.

    On rendered clips whose truth is known: changes on what does not move, and errors, without and with it.
    """
    from david.train.use.load import found, loaded

    place = found(weights)

    from david.bench.suites import steady as suite

    keep(lambda: suite.measure(loaded([place], device), frames, clips, console), out, as_json)


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

    from david.bench.suites import training  # torch, timm, DALI
    from david.train import distributed

    how = {
        **{"suite": suite, "contenders": contenders, "recipe": chosen},
        **{"shards": shards, "batches": batches, "rounds": rounds, "device": device, "raw": raw},
    }

    def result() -> "Result":
        return training.measure(**how) if nproc == 1 else distributed.launch(nproc, training.measure, **how)

    keep(result, out, as_json, leads=distributed.place(os.environ).rank == 0)


def _scan(raw: Path) -> None:
    """Raise DavidError where there are no raw samples."""
    from david.pack.sources import synthhuman

    synthhuman.scan(raw)
