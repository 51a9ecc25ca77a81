"""`david predict INPUT ... --weights ... --out OUT`: what a network says of pictures, as files.

Names and paths are looked at first; then the inputs are predicted in this process (`share.py`) or as Ray tasks
(`predict_ray.py`), and what became of them is told.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from david.pack.errors import DavidError, many, shown
from david.pack.options import AsJson, Device, aside
from david.train.use.work import Told, Work

if TYPE_CHECKING:
    from david.model.predict.inputs import Listing

ENGINES = "local", "ray"
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
        str | None,
        typer.Option(
            "--fit", metavar="NAME", help="How a picture reaches the network, see above.", show_default="the network's"
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="N",
            min=1,
            max=4096,  # as of an exported file: attention over more would fill the memory, and the process be killed
            help="Side that the network sees, in pixels.",
            show_default="the network's",
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
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|ray", help="Predict in this process, or as Ray tasks.")
    ] = "local",
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

    --fit square pads with the picture's own border; stretch bends; own keeps the shape, for networks that see any size;
    shorter too, as Depth Anything does, with --size for the shorter side.

    Of a video, picture is an MP4 with its times and sound, and the others are files of each frame. A camera, webcam or
    webcam:N, films until Ctrl-C.

    --engine ray spreads the inputs over a Ray cluster, whose machines share the files: each task does a part and has
    the record of that part.

    DIR/predictions.jsonl has one line for each input, with its files or why there are none. A run that was stopped goes
    on with the same command. Exit code 1: some inputs could not be predicted; 2: none could.
    """
    from david.train.use.stopping import BetweenInputs

    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata that is not read, and of sizes that are checked
    with BetweenInputs() as stop:
        from david.model.predict import inputs as named
        from david.model.predict import outputs
        from david.model.predict.points import Camera
        from david.model.predict.record import Record
        from david.pack.files import require_place
        from david.pack.part import Part
        from david.train.use.load import found

        places = [found(name) for name in [*(weights or ()), *(onnx or ())]]
        if not places:
            raise typer.BadParameter("name a network, or an ONNX file with --onnx", param_hint="--weights")
        _require_known(fit, precision, engine)
        saves, share = outputs.chosen(save), Part.parse(part)
        if engine == "ray" and share.of > 1:
            raise DavidError("--engine ray makes the parts by itself; leave out --part")
        look = outputs.Look(outputs.background(background), Camera.parse(fov, intrinsics))
        if restart and share.of > 1:
            raise DavidError(
                "--restart takes away what all parts wrote; begin anew without --part, then give the parts"
            )
        if out.is_file():
            raise DavidError(f"--out {out}: a file; expected a folder to write to")
        record = Record(out, share)
        listing = named.listed(inputs, out, record.made)
        require_place(out)

        work = Work(places, out, saves, look, fit, size, precision, device, batch_size, share, restart, steady, frames)
        work.require_of_use(listing.inputs)
        record.refuse_other(work.words(), restart)
        record.refuse_strangers(listing.inputs, work.files)
        with aside(as_json):
            told = _run(work, listing, stop, engine, quiet=no_progress)
    if as_json:
        print(json.dumps(told.as_json(), indent=2))
    if told.broken:
        raise typer.Exit(1 if told.predicted or told.kept else 2)


def _require_known(fit: str | None, precision: str, engine: str) -> None:
    from david.train.use.load import require_known

    require_known(fit, precision)
    if engine not in ENGINES:
        raise DavidError(f"--engine {engine}: there are {' and '.join(ENGINES)}")


def _run(work: Work, listing: "Listing", stop: Any, engine: str, quiet: bool) -> Told:
    from rich.console import Console

    from david.pack.part import Part
    from david.train.use import predict_ray, share

    bars = partial(_progress, Console(), quiet)
    if engine == "ray":
        told = predict_ray.predicted(work, listing.inputs, stop, bars)
    else:
        told = share.predicted(work, (work.part or Part()).of_all(listing.inputs), stop, bars)
    told.passed_over = listing.passed_over
    for sentence in list(told.broken.values())[:NAMED]:
        typer.echo(shown(sentence), err=True)
    if len(told.broken) > NAMED:
        more = len(told.broken) - NAMED
        typer.echo(f"... and {more:,} more; {told.out / told.record} names them all", err=True)
    if told.passed_over:
        typer.echo(f"{many(told.passed_over, 'file')} passed over, which look like no input")
    typer.echo(shown(told.sentence()))
    return told


@contextmanager
def _progress(console: Any, quiet: bool, what: str, unit: str) -> Iterator[Any]:
    from david.pack.progress import progress_bar

    if quiet:
        yield lambda done, total: None
        return
    with progress_bar(console, what, unit) as tell:
        yield tell
