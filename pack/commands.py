"""`david synth` and `david verify`, and where the other commands of this room are registered."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from david.pack import tables
from david.pack.errors import DavidError, many, shown
from david.pack.fetch.download_command import download
from david.pack.options import AsJson, Workers
from david.pack.pack_command import merge, pack, tell
from david.pack.progress import progress_bar
from david.pack.work import repair

console = Console()


def register(app: typer.Typer) -> None:
    app.command()(synth)
    app.command()(pack)
    app.command()(merge)
    app.command()(verify)
    app.command()(download)


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the zips.")],
    samples: Annotated[int | None, typer.Option(metavar="N", min=1, help="Samples in all.", show_default="300")] = None,
    zips: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Zips to spread them over.", show_default="3")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed makes other people.")] = 0,
    sequence: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Make a clip of one moving person, of so many frames.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(metavar="X", min=1, max=1000, help="Frames a second of a clip.", show_default="24")
    ] = None,
) -> None:
    """Make a small data set of drawn people in SynthHuman's layout."""
    for name, value in (("--samples", samples), ("--zips", zips)):
        if sequence is not None and value is not None:
            raise DavidError(f"{name} {value} beside --sequence: a clip is one zip of its frames; leave {name} out")
    if sequence is None and fps is not None:
        raise DavidError(f"--fps {fps:g}: only a clip has a rate; make one with --sequence N")
    if sequence is None:
        from david.pack import synth

        samples, zips = samples or 300, zips or 3
        with progress_bar(console, "synth") as progress:
            synth.write(out, samples, zips, seed, progress=progress)
        console.print(f"{samples} samples in {zips} zips under {out}")
        return
    from david.pack.raw.video import INSTALL
    from david.pack.synth import sequence as clips

    shows = find_spec("av") is not None
    with progress_bar(console, "synth", "frames") as progress:
        clips.write(out, sequence, fps or 24.0, seed, progress=progress, clip=shows)
    console.print(f"{sequence} frames in {out}", soft_wrap=True)
    if shows:
        console.print(f"filmed: {out / clips.CLIP}", soft_wrap=True)
    else:
        console.print(f"no {clips.CLIP}: PyAV is not installed; {INSTALL}", soft_wrap=True, markup=False)


def verify(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="A shard set's folder.")],
    deep: Annotated[bool, typer.Option("--deep", help="Decode every sample too.")] = False,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Check every byte of a shard set, and print what packing saw.

    Exit code 2 where anything is wrong.
    """
    from david.pack.check.verify import verify
    from david.pack.look import report_page

    if as_json:
        dataset, faults = verify(shards, deep=deep, workers=workers, progress=lambda done, total: None)
        about = {"shards": str(shards), "fingerprint": dataset.fingerprint, "deep": deep, "samples": {}}
        about["samples"] = {split: dataset.samples(split) for split in dataset.splits}
        print(json.dumps(about | {"whole": not faults, "faults": [shown(fault) for fault in faults]}, indent=2))
        raise typer.Exit(2 if faults else 0)
    with progress_bar(console, "verify", "shards") as progress:
        dataset, faults = verify(shards, deep=deep, workers=workers, progress=progress)
    whole = True
    for table in report_page.tables(dataset):
        whole &= tables.show(console, table)
        console.print()
    if not whole:
        console.print(f"What each means: {dataset.folder / report_page.NAME}, or a wider terminal.\n", soft_wrap=True)
    tell(dataset)
    for fault in faults:
        console.print(shown(fault), soft_wrap=True, style="red", highlight=False, markup=False)
    if faults:
        raise DavidError(f"{shards}: {many(len(faults), 'fault')}, listed above; {repair.advice(dataset)}")
    console.print("[bold green]whole:[/] every byte is as packed" + (" and every sample decodes" if deep else ""))
