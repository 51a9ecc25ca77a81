"""`david synth` and `david pack`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from david.pack.plan import PackOptions

console = Console()


@contextmanager
def progress_bar(what: str) -> Iterator:
    """A callback (done, total) that draws a bar with rate and time left; plain lines when not on a terminal."""
    if not console.is_terminal:
        yield lambda done, total: print(f"{what}: {done} of {total}", flush=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(*columns, TextColumn("{task.speed:.0f}/s"), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def register(app: typer.Typer) -> None:
    app.command()(synth)
    app.command()(pack)


def synth(
    out: Annotated[Path, typer.Argument(help="folder for the zips")],
    samples: Annotated[int, typer.Option(min=1, help="samples in all")] = 300,
    zips: Annotated[int, typer.Option(min=1, help="zips to spread them over")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="another seed, other people")] = 0,
) -> None:
    """Make a small data set of ray-traced figures in SynthHuman's exact layout."""
    from david.pack import synth

    with progress_bar("synth") as progress:
        synth.write(out, samples, zips, seed, progress=progress)
    console.print(f"{samples} samples in {zips} zips under {out}")


def pack(
    raw: Annotated[Path, typer.Argument(help="a folder of SynthHuman zips, of unzipped samples, of both; or one zip")],
    shards: Annotated[Path, typer.Argument(help="folder for the shard set")],
    val_fraction: Annotated[
        float, typer.Option(help="share of the samples in the val split")
    ] = PackOptions.val_fraction,
    lossless: Annotated[bool, typer.Option("--lossless", help="RGB as lossless WebP instead of JPEG")] = False,
    compression: Annotated[str, typer.Option(help="of depth, normals and alpha: lz4 (fast) or zstd (small)")] = "lz4",
    order: Annotated[str, typer.Option(help="permuted over the whole set, or stored")] = "permuted",
    seed: Annotated[int, typer.Option(help="of the permutation")] = 0,
    shard_samples: Annotated[int, typer.Option(help="samples a shard")] = PackOptions.shard_samples,
    workers: Annotated[int | None, typer.Option(min=1, help="processes  [default: all cores]")] = None,
) -> None:
    """Turn raw zips into a shard set, once."""
    from david.pack.build import build

    options = PackOptions(
        image="webp" if lossless else "jpeg",
        compression=compression,  # type: ignore[arg-type]  # checked by PackOptions
        order=order,  # type: ignore[arg-type]
        seed=seed,
        val_fraction=val_fraction,
        shard_samples=shard_samples,
    )
    with progress_bar("pack") as progress:
        manifest = build(raw, shards, options, workers=workers, progress=progress)
    counts = ", ".join(f"{manifest.samples(split)} {split}" for split in manifest.splits)
    size = sum(shard.bytes for rows in manifest.splits.values() for shard in rows)
    console.print(f"{counts} samples in {size / 1e6:,.1f} MB under {shards}")
