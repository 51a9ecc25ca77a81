"""`david export`: a trained network as one ONNX file that others run, checked against it before it is there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from david.pack import tables
from david.pack.errors import DavidError
from david.pack.options import AsJson, aside

if TYPE_CHECKING:
    from david.model.export import Exported
    from david.model.networks.network import Network
    from david.train.use.load import Found

MB = 1e6


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    weights: Annotated[str, typer.Option(metavar="NAME", help="A run, a file of weights or user/name on the Hub.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write, ending in .onnx or .pt2.")],
    task: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What it says: multi, depth, normals, alpha, metric_depth, disparity.",
            show_default="all it can",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="fp32|fp16", help="What is computed in, between float32 inputs and outputs.")
    ] = "fp32",
    size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Side of the square that it sees, in pixels.", show_default="512, or its own"),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Compare on a shard set or a folder of pictures.", show_default="images made up"
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="train|val", help="Split of the shard set to compare on.")] = "val",
    form: Annotated[str, typer.Option("--format", metavar="onnx|pt2", help="ONNX, or torch.export's.")] = "onnx",
    as_json: AsJson = False,
) -> None:
    """Write a network as one file for other programs.

    The file is in the contract of DAViD's official demo: BGR in, relative depth, normals and foreground out, everything
    else inside. It says what made it. It is written only if it says what the network says: on made-up images, on the
    first 32 pictures of a folder, or on the first 32 samples of a shard set, there by the metrics of `david eval` too.

    In a file of --task depth, depth grows with nearness, as in the official one; in one of all tasks with distance. One
    of metric_depth says metres, one of disparity 1 / depth up to scale and shift; both are (B, S, S), 518 by default.
    """
    from david.model.export import tasks
    from david.pack.files import require_place
    from david.pipeline.reading import sets
    from david.train import first_look
    from david.train.use import load
    from david.train.use.stopping import Terminated

    tasks.require(task, precision, form, size)
    if out.suffix.lower() != f".{form}":
        raise DavidError(f"--out {out}: expected a name ending in .{form}")
    if out.is_dir():
        raise DavidError(f"--out {out}: a folder; expected a file to write")
    place = load.found(weights)
    if place.onnx:
        raise DavidError(f"{weights}: an ONNX file already; give the weights that it was made of")
    if place.subject and (heads := place.subject.heads()):
        tasks.chosen(task, heads)
    pictures, samples = None, None
    if check is not None and (check / "dataset.json").is_file():
        first_look.at_shards([str(check)])
        sets.load(check).counts(split)
        samples = check, split
    elif check is not None:
        pictures = _pictures(check)
    require_place(out.absolute().parent)

    from rich.console import Console

    with Terminated(), aside(as_json):
        how = {"task": task, "precision": precision, "size": size, "form": form}
        exported, metrics = _exported(place, out, pictures, samples, **how)
        _show(Console(stderr=as_json), exported, metrics)
    if as_json:
        print(json.dumps(exported.as_json() | {"metrics": metrics}))


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder. Raises DavidError where there is none, or no folder."""
    from david.model.predict.pictures import SUFFIXES

    if not folder.is_dir():
        raise DavidError(f"--check {folder}: no such folder; expected a shard set or pictures")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DavidError(f"--check {folder}: expected a shard set, or pictures in the folder itself; found neither")
    return paths


def _exported(
    place: "Found",
    out: Path,
    pictures: list[Path] | None,
    samples: tuple[Path, str] | None,
    *,
    precision: str,
    size: int | None,
    **how: Any,
) -> "tuple[Exported, dict[str, tuple[float, float]]]":
    """What was written, and of each metric the network's and the file's. pictures, samples: to compare on, if any; a
    shard set and its split"""
    from david.model.export import export as write
    from david.model.export.tasks import side
    from david.pack.files import make_folder
    from david.train.use import checks

    network, about = _opened(place)
    own = network.config
    size = side(size, own.published_side, own.fit == "shorter")
    images, metrics = None, None
    if pictures is not None:
        images = checks.pictures(pictures, size)
    elif samples is not None:
        batches = checks.samples([samples[0]], samples[1], size)
        images, metrics = checks.images(batches), checks.Metrics(batches, precision, out)
    make_folder(out.absolute().parent)
    how |= {"precision": precision, "size": size, "images": images, "about": about}
    exported = write(network, out, **how, further=metrics)
    return exported, metrics.values if metrics else {}


def _opened(place: "Found") -> "tuple[Network, dict[str, Any]]":
    """The network, and what is known of it."""
    if place.hub:
        from david.model.predict import hub

        return hub.fetched(place.hub)
    from david.train.use import provenance

    assert place.subject
    return place.subject.network(), provenance.exported(place.subject)


def _show(console: Any, exported: "Exported", metrics: dict[str, tuple[float, float]]) -> None:
    """How far the file is from the network, how large it is beside others, and how long both take."""
    figures = ("largest", "99.9 %", "limits")
    apart = tables.table("output", *figures, title="Difference from the network", right=figures)
    for name, one in exported.differences.items():
        limits = "{:g}, {:g}".format(*one.limits)
        apart.add_row(name, f"{one.largest:.2g}", f"{one.most:.2g}", limits)
    tables.show(console, apart)
    if metrics:
        named = tables.table("metric", "network", "file", title="On the samples", right=("network", "file"))
        for name, (network, file) in metrics.items():
            named.add_row(name, f"{network:.5g}", f"{file:.5g}")
        tables.show(console, named)
    of = f"One picture of {exported.size} x {exported.size}"
    sizes = tables.table("kind", "MB", "ms", title=f"Size, and time on the CPU. {of}", right=("MB", "ms"))
    for name in dict.fromkeys((*exported.sizes, *exported.milliseconds)):
        size, time = exported.sizes.get(name), exported.milliseconds.get(name)
        sizes.add_row(name, f"{size / MB:.1f}" if size else "", f"{time:.1f}" if time else "")
    tables.show(console, sizes)
    console.print(str(exported.path), soft_wrap=True, highlight=False)
