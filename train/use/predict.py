"""`david predict INPUT ... --weights ... --out OUT`: what a network says of pictures, as files.

Names and paths are looked at first; then the network is loaded, agreed with what an earlier run wrote, and asked about
every input that is not done yet.
"""

import json
import warnings
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from david.pack.errors import DavidError, many, shown
from david.pack.options import AsJson, Device, aside
from david.train.use.work import Told, Work

if TYPE_CHECKING:
    from david.model.predict.inputs import Input
    from david.model.predict.predictor import Predictor
    from david.model.predict.record import Outcome, Record

NAMED = 20  # broken inputs that are named at the end


def register(app: typer.Typer) -> None:
    app.command("predict")(predict)


def predict(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT", help="Pictures, videos, folders, patterns in quotes, or webcam.")
    ],
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", metavar="NAME", help="A run, a file of weights, an ONNX file or user/name on the Hub."
        ),
    ] = None,
    onnx: Annotated[
        list[str] | None, typer.Option("--onnx", metavar="FILE", help="An ONNX file; several may share the fields.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write to; one with a record goes on.")
    ] = (Path("predictions")),
    save: Annotated[
        list[str] | None,
        typer.Option("--save", metavar="NAME", help="What to write, as told above.", show_default="picture"),
    ] = None,
    fit: Annotated[
        str, typer.Option("--fit", metavar="square|stretch|own", help="How a picture reaches the network.")
    ] = "square",
    size: Annotated[
        int | None,
        typer.Option(
            "--size", metavar="N", min=1, help="Side that the network sees, in pixels.", show_default="the network's"
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", metavar="N", min=1, help="Pictures at once.", show_default="1 on a CPU, 8 on a GPU"
        ),
    ] = None,
    background: Annotated[
        str, typer.Option("--background", metavar="COLOUR", help="Under a composite: a name, #rrggbb or R,G,B.")
    ] = "white",
    fov: Annotated[
        float | None,
        typer.Option(
            "--fov", metavar="DEGREES", help="Field of view of the longer side, for points.", show_default="60"
        ),
    ] = None,
    intrinsics: Annotated[
        str | None, typer.Option("--intrinsics", metavar="NUMBERS", help="Instead of --fov, fx,fy,cx,cy in pixels.")
    ] = None,
    steady: Annotated[
        bool, typer.Option("--steady", help="Videos without flicker: one scale and range, smooth along motion.")
    ] = False,
    frames: Annotated[
        int | None, typer.Option("--frames", metavar="N", min=1, help="Of a video or camera, the first N alone.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", metavar="NAME", help="Compute in auto, fp32, bf16 or fp16.")
    ] = "auto",
    device: Device = "auto",
    part: Annotated[str, typer.Option("--part", metavar="I/N", help="Do the I-th of N shares of the inputs.")] = "1/1",
    restart: Annotated[
        bool, typer.Option("--restart", help="Take away what earlier runs wrote to DIR, and begin anew.")
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Do not tell how far it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Predict pictures with a trained network or ONNX files.

    Files are named after their inputs. --save may be repeated or hold commas: picture (all side by side), depth (16-bit
    PNG), depth-exr, depth-npy, normals, normals-exr, alpha, cutout (RGBA), composite, points (PLY), npz (all arrays).
    EXR of normals have X right, Y up, Z towards the camera in channels R, G, B; depth is relative and grows with
    distance.

    --fit square pads with the picture's own border; stretch bends; own keeps the shape, for networks that see any size.

    Of a video, picture is an MP4 with its times and sound, and the others are files of each frame. A camera, webcam or
    webcam:N, films until Ctrl-C.

    DIR/predictions.jsonl has one line for each input, with its files or why there are none. A run that was stopped goes
    on with the same command. Exit code 1: some inputs could not be predicted; 2: none could.
    """
    from david.train.use.stopping import BetweenInputs

    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that is not read, and of sizes that are checked
    with BetweenInputs() as stop:
        from david.model.predict import inputs as named
        from david.model.predict import outputs
        from david.model.predict.points import Camera
        from david.pack.files import require_place
        from david.pack.part import Part
        from david.train.use.load import found

        places = [found(name) for name in [*(weights or ()), *(onnx or ())]]
        if not places:
            raise typer.BadParameter("name a network, or an ONNX file with --onnx", param_hint="--weights")
        _require_known(fit, precision)
        saves, share = outputs.chosen(save), Part.parse(part)
        look = outputs.Look(outputs.background(background), Camera.parse(fov, intrinsics))
        if restart and share.of > 1:
            raise DavidError(
                "--restart takes away what all parts wrote; begin anew without --part, then give the parts"
            )
        listing = named.listed(inputs, out)
        require_place(out)

        with aside(as_json):
            told = _run(
                Work(
                    places, out, saves, look, fit, size, precision, device, batch_size, share, restart, steady, frames
                ),
                listing.inputs,
                listing.passed_over,
                stop,
                quiet=no_progress,
            )
    if as_json:
        print(json.dumps(told.as_json(), indent=2))
    if told.broken:
        raise typer.Exit(1 if told.predicted or told.kept else 2)


def _require_known(fit: str, precision: str) -> None:
    from typing import get_args

    from david.model.predict import fit as fits
    from david.train.recipe import Precision

    fits.require(fit)
    if precision not in get_args(Precision):
        raise DavidError(f"--precision {precision}: there are {', '.join(get_args(Precision))}")


def _run(work: Work, inputs: "tuple[Input, ...]", passed_over: int, stop: Any, quiet: bool) -> Told:
    from rich.console import Console

    from david.model.predict import outputs
    from david.model.predict.clips import SHOWN
    from david.model.predict.record import Record
    from david.pack.part import Part
    from david.train.use.load import loaded

    part, console = work.part or Part(), Console()
    mine = part.of_all(inputs)
    predictor = loaded(work.places, work.device, work.precision, work.fit, work.size)
    outputs.require(work.saves, predictor.fields, predictor.name)
    told = Told(work.out, len(mine), passed_over=passed_over)
    with Record(work.out, part).opened(work.settings(predictor), work.restart) as record:
        record.require_free(mine, [SHOWN, *(outputs.KINDS[name].ending for name in work.saves)])
        todo = [one for one in mine if not record.done(one)]
        told.kept = len(mine) - len(todo)
        stop.begun = True
        _predict(work, predictor, todo, record, told, stop, console, quiet)
        record.finish(mine)
    for sentence in told.broken[:NAMED]:
        typer.echo(shown(sentence), err=True)
    if len(told.broken) > NAMED:
        typer.echo(f"... and {len(told.broken) - NAMED:,} more; {record.path} names them all", err=True)
    if passed_over:
        typer.echo(f"{many(passed_over, 'file')} passed over, which look like no input")
    typer.echo(shown(told.sentence()))
    return told


def _predict(
    work: Work,
    predictor: "Predictor",
    todo: "list[Input]",
    record: "Record",
    told: Told,
    stop: Any,
    console: Any,
    quiet: bool,
) -> None:
    """Predict what is not done yet, and write down what became of each."""
    from david.model.predict import runner
    from david.train.signals import EXIT_STOPPED
    from david.train.use import filming

    on_gpu = any(engine.on_gpu for engine in predictor.engines)
    job = runner.Job(predictor, work.out, work.saves, work.look, work.batch_size or (8 if on_gpu else 1))
    progress, number = partial(_progress, console, quiet), 0
    for films, some in groupby(todo, filming.films):
        group = list(some)
        if films:
            outcomes = filming.run(job, group, work.steady, work.frames, stop, progress)
        else:
            outcomes = _pictures(job, group, progress)
        with closing(outcomes):
            for outcome in outcomes:
                _note(outcome, record, told)
                number += 1
                if stop.requested:
                    break
        if stop.requested and number < len(todo):
            typer.echo(
                f"stopped by {stop.requested} after {told.kept + number:,} of {many(told.inputs, 'input')}; the "
                "same command goes on",
                err=True,
            )
            raise typer.Exit(EXIT_STOPPED)


def _pictures(job: Any, todo: "list[Input]", progress: Any) -> "Generator[Outcome, None, None]":
    from david.model.predict import runner

    with progress("predict", "images") as tell, closing(runner.run(job, todo)) as outcomes:
        for number, outcome in enumerate(outcomes, 1):
            tell(number, len(todo))
            yield outcome


def _note(outcome: "Outcome", record: "Record", told: Told) -> None:
    record.add(outcome)
    if outcome.error:
        told.broken.append(outcome.error)
    else:
        told.predicted += 1


@contextmanager
def _progress(console: Any, quiet: bool, what: str, unit: str) -> Iterator[Any]:
    from david.pack.progress import progress_bar

    if quiet:
        yield lambda done, total: None
        return
    with progress_bar(console, what, unit) as tell:
        yield tell
