"""`david pack RAW SHARDS` and `david merge SHARDS`."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from david.pack import source_options as told
from david.pack import tables, tuned
from david.pack.errors import DavidError, shown
from david.pack.look import report_page
from david.pack.options import TunedFile, Workers
from david.pack.part import Part
from david.pack.shards.manifest import NAME, Manifest, require_folder
from david.pack.sources.table import SOURCES, chosen
from david.pack.work import build as work
from david.pack.work import crew, ray_engine
from david.pack.work.build import BadPolicy, Runner, build
from david.pack.work.crew import Event
from david.pack.work.display import PackDisplay
from david.pack.work.forecast import forecast
from david.pack.work.plan import PackOptions
from david.pack.work.record import Done

console = Console()
OF_SOURCES = {one.name for kind in SOURCES.values() for one in fields(kind)}


def pack(
    raw: Annotated[Path, typer.Argument(metavar="RAW", help="The raw data: a folder, or one file of it.")],
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder for the shard set.")],
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What it is, by a name from the list above.", show_default="guessed"),
    ] = None,
    list_: told.List = None,
    columns: told.Columns = None,
    rgb: told.Rgb = None,
    depth: told.Depth = None,
    normals: told.Normals = None,
    alpha: told.Alpha = None,
    camera: told.Camera = None,
    intrinsics: told.Intrinsics = None,
    depth_scale: told.DepthScale = None,
    depth_bits: told.DepthBits = None,
    depth_invalid: told.DepthInvalid = None,
    depth_sky: told.DepthSky = None,
    normals_axes: told.NormalsAxes = None,
    splits: told.Splits = None,
    depth_kind: told.DepthKind = None,
    train_list: told.TrainList = None,
    test_list: told.TestList = None,
    crop: told.Crop = None,
    pairs_split: told.PairsSplit = None,
    val_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share in the val split, where the source tells no splits.")
    ] = PackOptions.val_fraction,
    lossless: Annotated[bool, typer.Option("--lossless", help="Store RGB as lossless WebP instead of JPEG.")] = False,
    compression: Annotated[
        str, typer.Option(metavar="lz4|zstd", help="Store depth, normals and alpha fast to read, or small.")
    ] = "lz4",
    order: Annotated[
        str, typer.Option(metavar="permuted|stored", help="Mix samples over the whole set, or keep the zips' order.")
    ] = "permuted",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the permutation.")] = PackOptions.seed,
    shard_samples: Annotated[int, typer.Option(metavar="N", help="Samples in a shard.")] = PackOptions.shard_samples,
    max_pixels: Annotated[
        int, typer.Option(metavar="N", help="Pixels above which a sample is bad.")
    ] = PackOptions.max_pixels,
    on_bad: Annotated[
        str, typer.Option(metavar="stop|quarantine", help="End at a bad sample, or set it aside and go on.")
    ] = "stop",
    max_bad: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the samples that quarantine may take.",
            show_default="0.01, or 10 samples of a small set",
        ),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            "--accept",
            metavar="depth|normals|alpha",
            help="Pack though these look wrong, where they are right as they are; repeatable.",
        ),
    ] = None,
    part: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N shares of the work.")] = "1/1",
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Pack in processes here, or as Ray tasks.")
    ] = "local",
    workers: Workers = None,
    tuned_file: TunedFile = None,
    restart: Annotated[bool, typer.Option("--restart", help="Remove first what an earlier pack wrote.")] = False,
    plain: Annotated[
        bool, typer.Option("--no-progress", help="Print a line every few seconds, no live display.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be packed and whether there is room; write nothing.")
    ] = False,
) -> None:
    """Turn raw data into a shard set; run it again to go on.

    Raw data is of synthhuman, a folder of one's own, scenes with depth in metres (nyu, nyu_labeled, sunrgbd, ibims,
    hypersim, kitti, vkitti2), or a benchmark: da2k, p3m-500-np, p3m-500-p, ppm-100, photomatte85, rendered people.

    Jobs on several machines take --part 1/n .. n/n of the same call; the last to end writes the manifest, or
    `david merge SHARDS` does.
    """
    if raw == Path("merge") and not raw.exists():
        raise DavidError(f"merging is a command of its own now: david merge {shards}")
    given = {name: value for name, value in locals().items() if name in OF_SOURCES} | {"list": list_}
    options = PackOptions(
        image="webp" if lossless else "jpeg",
        compression=compression,  # type: ignore[arg-type]  # PackOptions checks it
        order=order,  # type: ignore[arg-type]
        seed=seed,
        val_fraction=val_fraction,
        shard_samples=shard_samples,
        max_pixels=max_pixels,
    )
    if tuned_file:
        workers, said = tuned.workers(tuned_file, workers)
        console.print(said, soft_wrap=True, markup=False, highlight=False)
    how: dict[str, Any] = {"bad": BadPolicy.parse(on_bad, max_bad), "part": Part.parse(part), "workers": workers}
    how |= {"source": chosen(raw, source, given), "accept": accept or ()}
    if dry_run:
        _runner(engine)
        found = forecast(raw, shards, options, restart=restart, **how)
        console.print("A dry run: nothing is written.")
        tables.tell(console, found.facts())
        return
    finished, mended = (shards / NAME).exists() and not restart, []

    def hear(event: Event) -> None:
        if finished and isinstance(event.what, Done):
            mended.append(event.what.name)
        display.hear(event)

    with ends_on_sigterm(), PackDisplay(console, plain=plain) as display:
        manifest = build(
            raw,
            shards,
            options,
            **how,
            runner=_runner(engine),
            restart=restart,
            hear=hear,
            planned=display.planned,
            reading=display.reading,
            say=display.say,
        )
    if manifest is None:
        console.print(f"part {part} is done; other parts have still to write theirs")
    else:
        tell(manifest)
    if finished:
        outcome = f"mended {', '.join(sorted(mended))}; all else is" if mended else "nothing to do: every byte is"
        console.print(f"{outcome} as packed", soft_wrap=True)


def merge(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder whose shards are all written.")],
) -> None:
    """Write the manifest of a set whose parts are all packed.

    The last part to end does so by itself.
    """
    require_folder(shards)
    tell(work.merge(shards))


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """SIGTERM ends what is under way as Ctrl-C does, with exit code 143: workers end, and nothing whole is lost."""

    def end(number: int, frame: object) -> None:
        print("david: told to end (SIGTERM); the same command goes on", file=sys.stderr, flush=True)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _runner(name: str) -> Runner:
    if name == "local":
        return crew.run
    if name == "ray":
        return ray_engine.run
    raise DavidError(f"the engine is `{name}`, but can only be local or ray")


def tell(manifest: Manifest) -> None:
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in manifest.splits)
    size = sum(shard.bytes for rows in manifest.splits.values() for shard in rows)
    console.print(f"{counts} samples in {size / 1e6:,.1f} MB under {manifest.folder}")
    for sample in manifest.quarantined:
        console.print(shown(f"quarantined: {sample['where']}: {sample['reason']}"), soft_wrap=True, markup=False)
    for one in report_page.report_of(manifest).accepted:
        console.print(shown(str(one)), soft_wrap=True, markup=False, highlight=False)
