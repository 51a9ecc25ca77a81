"""`david synth`, `david pack`, `david verify`, `david view` and, from `download_command.py`, `david download`."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from david.pack import tables
from david.pack.errors import DavidError, shown
from david.pack.fetch.download_command import download
from david.pack.options import AsJson, Raw, Workers
from david.pack.progress import progress_bar
from david.pack.shards.manifest import NAME, Manifest
from david.pack.work import crew, ray_engine, repair
from david.pack.work.build import BadPolicy, Engine, Part, build, merge
from david.pack.work.crew import Event
from david.pack.work.display import PackDisplay
from david.pack.work.forecast import forecast
from david.pack.work.plan import PackOptions
from david.pack.work.record import Done

console = Console()


def register(app: typer.Typer) -> None:
    app.command()(synth)
    app.command()(pack)
    app.command()(verify)
    app.command()(view)
    app.command()(download)


def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the zips.")],
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Samples in all.")] = 300,
    zips: Annotated[int, typer.Option(metavar="N", min=1, help="Zips to spread them over.")] = 3,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Another seed makes other people.")] = 0,
) -> None:
    """Make a small data set of drawn people in SynthHuman's layout."""
    from david.pack import synth

    with progress_bar(console, "synth") as progress:
        synth.write(out, samples, zips, seed, progress=progress)
    console.print(f"{samples} samples in {zips} zips under {out}")


def pack(
    raw: Raw,
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder for the shard set.")],
    val_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the samples in the val split.")
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
    part: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N shares of the work.")] = "1/1",
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Pack in processes here, or as Ray tasks.")
    ] = "local",
    workers: Workers = None,
    restart: Annotated[bool, typer.Option("--restart", help="Remove first what an earlier pack wrote.")] = False,
    plain: Annotated[
        bool, typer.Option("--no-progress", help="Print a line every few seconds, no live display.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be packed and whether there is room; write nothing.")
    ] = False,
) -> None:
    """Turn raw zips into a shard set; run it again to go on.

    Jobs on several machines take --part 1/n .. n/n of the same call; the last to end writes the manifest, or
    `david pack merge SHARDS` does.
    """
    if raw == Path("merge") and not raw.exists():
        if dry_run:
            raise DavidError("--dry-run: merging writes the manifest and nothing else; leave it out")
        _tell(merge(shards))
        return
    options = PackOptions(
        image="webp" if lossless else "jpeg",
        compression=compression,  # type: ignore[arg-type]  # PackOptions checks it
        order=order,  # type: ignore[arg-type]
        seed=seed,
        val_fraction=val_fraction,
        shard_samples=shard_samples,
        max_pixels=max_pixels,
    )
    how: dict[str, Any] = {"bad": BadPolicy.parse(on_bad, max_bad), "part": Part.parse(part), "workers": workers}
    if dry_run:
        _engine(engine)
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
            engine=_engine(engine),
            restart=restart,
            hear=hear,
            planned=display.planned,
            reading=display.reading,
            say=display.say,
        )
    if manifest is None:
        console.print(f"part {part} is done; other parts have still to write theirs")
    else:
        _tell(manifest)
    if finished:
        told = f"mended {', '.join(sorted(mended))}; all else is" if mended else "nothing to do: every byte is"
        console.print(f"{told} as packed", soft_wrap=True)


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
    _tell(dataset)
    for fault in faults:
        console.print(shown(fault), soft_wrap=True, style="red", highlight=False, markup=False)
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise DavidError(f"{shards}: {count}, listed above; {repair.advice(dataset)}")
    console.print("[bold green]whole:[/] every byte is as packed" + (" and every sample decodes" if deep else ""))


def view(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A shard set, raw samples, a zip, or a run's folder.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("gallery.html"),
    start_idx: Annotated[
        int, typer.Option("--start-idx", metavar="N", min=0, help="Position of the first sample.")
    ] = 0,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="Samples to show.")] = 60,
    split: Annotated[
        str | None, typer.Option(metavar="train|val", help="Split of a shard set.", show_default="all")
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a PNG of the samples instead of a page.")
    ] = None,
) -> None:
    """Look at samples or a run's pictures: a page, or a contact sheet."""
    from david.pack.look import preview
    from david.pack.look import view as views

    if contact_sheet and (path / "recipe.json").is_file():
        raise DavidError(
            f"{path}: a run; its sheets are in {path / 'pictures'}; a contact sheet is of a shard set or raw data"
        )
    if contact_sheet:
        shown = [sample for _, sample in views.samples(path, start_idx, count, split)]
        preview.contact_sheet(shown, contact_sheet)
        console.print(f"{len(shown)} samples on {contact_sheet}")
    else:
        entries = views.gallery(path, out, start_idx, count, split)
        console.print(f"{entries} entries in {out}; open it in a browser", soft_wrap=True)


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


def _engine(name: str) -> Engine:
    if name == "local":
        return crew.run
    if name == "ray":
        return ray_engine.run
    raise DavidError(f"the engine is `{name}`, but can only be local or ray")


def _tell(manifest: Manifest) -> None:
    counts = ", ".join(f"{manifest.samples(split):,} {split}" for split in manifest.splits)
    size = sum(shard.bytes for rows in manifest.splits.values() for shard in rows)
    console.print(f"{counts} samples in {size / 1e6:,.1f} MB under {manifest.folder}")
    for sample in manifest.quarantined:
        console.print(shown(f"quarantined: {sample['where']}: {sample['reason']}"), soft_wrap=True, markup=False)
