"""`david eval`: how good a run's network, or a file's, is on a split or a benchmark, or several side by side."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from david.pack import source_options as told
from david.pack import tables
from david.pack.options import AsJson, Device, Ranks, aside
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB

OF_BENCHMARKS = ("root", "flip", "accept", "depth_scale", "depth_invalid", "normals_axes")
OF_SHARDS = ("shards", "constant", "split", "height", "width", "batch_size", "nproc", "cache", "cache_gb")
PANEL = "Of a benchmark"


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)


def evaluate(
    context: typer.Context,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR|URL",
            help="A shard set to measure on; repeatable.",
            show_default="what the first run was trained on",
        ),
    ] = None,
    run: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A run's folder; repeatable.")] = None,
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="A file of weights or a checkpoint's folder; repeatable."),
    ] = None,
    onnx: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An ONNX file, as the official ones are; repeatable."),
    ] = None,
    constant: Annotated[
        bool, typer.Option("--constant", help="Measure a constant answer beside one, as beside several.")
    ] = False,
    split: Annotated[str, typer.Option(metavar="train|val", help="Split to measure on.")] = "val",
    checkpoint: Annotated[
        str, typer.Option(metavar="N|newest|best", help="Checkpoint of the run to take, by its step or as said.")
    ] = "newest",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write to.",
            show_default="eval-SPLIT or eval-BENCHMARK in the run's or file's folder, of several here",
        ),
    ] = None,
    height: Annotated[
        int | None, typer.Option(metavar="N", help="Height of images, in pixels.", show_default="the run's or samples'")
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Width of images, in pixels.", show_default="the run's or samples'")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compute in auto, fp32, bf16 or fp16.", show_default="the run's, else auto"),
    ] = None,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Samples at once, over all ranks.")] = 16,
    worst: Annotated[int, typer.Option(metavar="N", min=0, help="Samples on each sheet of worst cases.")] = 8,
    nproc: Ranks = 1,
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    device: Device = "auto",
    benchmark: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Measure on this benchmark, not on shards.", rich_help_panel=PANEL),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Its folder, as published or rendered, or packed.", rich_help_panel=PANEL),
    ] = None,
    flip: Annotated[
        bool,
        typer.Option(
            "--flip", help="Average depth with the mirror image's, as ZoeDepth is measured.", rich_help_panel=PANEL
        ),
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="depth|normals|alpha",
            help="Measure though these look wrong, where they are right; repeatable.",
            rich_help_panel=PANEL,
        ),
    ] = None,
    depth_scale: told.DepthScale = None,
    depth_invalid: told.DepthInvalid = None,
    normals_axes: told.NormalsAxes = None,
    as_json: AsJson = False,
) -> None:
    """Measure a network on each sample of a split, or on a benchmark.

    Prints a table and writes metrics.json, samples.csv and a sheet of the worst cases of each head. The network is that
    of a run (--run), of a file (--weights), or an ONNX file (--onnx). Of several, and a constant answer, one table says
    how they compare on the same samples; it is in comparison.json too, and each has a folder of its own.

    Benchmarks of depth are nyu, kitti, sunrgbd, ibims and da2k; of people p3m-500-np, p3m-500-p, ppm-100, photomatte85,
    and rendered, hi4d, thuman2, goliath, goliath-face, goliath-upper, goliath-full, which lie in folders image, mask,
    depth, normal. Each is measured as its papers do, at the pictures' own size, with what was published beside it:
    benchmark.json, images.csv and sheets of the worst. Depth that is only relative is fitted to each image first.
    """
    from rich.console import Console

    from david.pack.files import require_place
    from david.pipeline.reading import sets
    from david.train import first_look
    from david.train.eval import subjects
    from david.train.run import shards_of

    if not (run or weights or onnx):
        raise typer.BadParameter("name a run, a file of weights or an ONNX file", param_hint="--run/--weights/--onnx")
    given = _given(context, OF_SHARDS if benchmark else OF_BENCHMARKS)
    if given and benchmark:
        raise typer.BadParameter("says how shards are measured; leave it out beside --benchmark", param_hint=given)
    if given:
        raise typer.BadParameter("says how a benchmark is measured; name it with --benchmark", param_hint=given)
    if benchmark:
        if root is None:
            raise typer.BadParameter("a benchmark has to lie somewhere; name its folder", param_hint="--root")
        from david.train.use import benchmark as door

        found = subjects.named(run or [], weights or [], onnx or [], checkpoint, device)
        folder = (Path() if len(found) > 1 else found[0].folder) / f"eval-{benchmark}"
        options = {"depth_scale": depth_scale, "depth_invalid": depth_invalid, "normals_axes": normals_axes}
        how: dict[str, Any] = {"worst": worst, "device": device, "precision": precision, "as_json": as_json}
        how["flip"] = flip
        door.evaluate(benchmark, root, found, options, accept or (), out or folder, **how)
        return
    if not (run or shards):
        raise typer.BadParameter("a file does not say what to measure it on", param_hint="--shards")
    first_look.at_shards(shards or [])
    found = subjects.named(run or [], weights or [], onnx or [], checkpoint, device)
    found = subjects.adjusted(found, height, width, precision)
    folders = shards_of(run[0], shards, cache, cache_gb) if run else sets.located(shards or [], cache, cache_gb)
    sets.load(folders).counts(split)
    several = len(found) > 1 or constant
    out = out or (Path() if several else found[0].folder) / f"eval-{split}"
    require_place(out)
    who: list[subjects.Measured] = [*found, *([subjects.Flat(data=found[0].data)] if several else [])]
    names = subjects.folders([one.name for one in who]) if several else ["."]

    from david.train import distributed  # torch and timm: seconds, that no refusal waits for
    from david.train.eval import comparison, measure, report

    places = [(one, out / name, worst if one.source else 0) for one, name in zip(who, names, strict=True)]
    how = {"shards": folders, "split": split, "batch_size": batch_size, "device": device}
    with aside(as_json):
        if nproc == 1:
            scores = measure.measure_all(places, **how)
        else:
            scores = distributed.launch(nproc, measure.measure_all, subjects=places, **how)
    if distributed.place(os.environ).rank == 0:
        console = Console(stderr=as_json)
        if several:
            of = zip(who, names, scores, strict=True)
            columns = [comparison.Column(one.name, name, str(one.source or ""), its) for one, name, its in of]
            about = measure.about(who[0], folders, split)
            comparison.leave(console, f"On {len(scores[0].ids)} samples of `{split}`", out, columns, about)
        else:
            how_computed = subjects.in_words(scores[0].precision)
            title = f"{found[0].name} on {len(scores[0].ids)} samples of `{split}`, {how_computed}"
            tables.show(console, report.table(title, scores[0]))
        console.print(f"{out}", soft_wrap=True, highlight=False)
        if as_json:
            print((out / (comparison.COMPARISON_JSON if several else report.METRICS_JSON)).read_text(), end="")


def _given(context: typer.Context, names: tuple[str, ...]) -> str | None:
    """The first of these options that the command line has, as it is written there."""
    there = (name for name in names if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE")
    first = next(there, None)
    return first and f"--{first.replace('_', '-')}"
