"""`david label SHARDS --teacher FILE --out SIDECAR`: names and paths are looked at first, then `work.py` labels."""

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from david.pack.errors import DavidError, many, shown
from david.pack.files import require_place
from david.pack.options import AsJson, Device, Ranks, aside
from david.pack.part import Part
from david.pack.shards import manifest, sidecar
from david.pipeline.options import DEFAULT_CACHE_GB, CacheFolder, CacheGB, ShardSet


def register(app: typer.Typer) -> None:
    app.command("label")(label)


def label(
    shards: ShardSet,
    teacher: Annotated[
        str,
        typer.Option(metavar="NAME", help="A run, a file of weights, FILE@KIND, an ONNX file or user/name on the Hub."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the labels; one that was begun goes on.")],
    fit: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How an image reaches the teacher.", show_default="the teacher's"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=4096, help="Side that it sees, in pixels.", show_default="the teacher's"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Samples at once.", show_default="1 on a CPU, 8 on a GPU"),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="NAME", help="Compute in auto, fp32, bf16 or fp16.")] = "auto",
    device: Device = "auto",
    nproc: Ranks = 1,
    part: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N shares of the shards.")] = "1/1",
    cache: CacheFolder = None,
    cache_gb: CacheGB = DEFAULT_CACHE_GB,
    restart: Annotated[bool, typer.Option("--restart", help="Remove first what an earlier label wrote.")] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Do not tell how far it is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a network say its depth of each sample of a set, once.

    What it says lies in a folder of its own, which `david train --shards SHARDS+DIR` joins to the set as the field
    `teacher_depth`: relative, growing with nearness. Run it again to go on. --nproc N labels on N GPUs of this machine,
    and jobs on several machines take --part 1/n .. n/n of the same call; the last to end writes the manifest.
    """
    from david.pack.pack_command import ends_on_sigterm
    from david.pack.progress import progress_bar
    from david.pipeline.reading import sets
    from david.train.use import load

    share, place = Part.parse(part), load.found(teacher)
    load.require_known(fit, precision)
    if restart and share.of > 1:
        raise DavidError("--restart takes away what all parts wrote; begin anew without --part, then give the parts")
    if sidecar.JOIN in shards and len(sets.parts(shards)) > 1:
        raise DavidError(f"{shards}: labels are made of a shard set alone; leave out what stands behind the +")
    (folder,) = sets.located([shards], cache, cache_gb)
    manifest.load(folder)
    if out.is_file():
        raise DavidError(f"--out {out}: a file; expected a folder to write to")
    if (out / manifest.NAME).exists():
        sidecar.load(out, shards)
    require_place(out)
    given = {"--fit": fit, "--size": size, "--batch-size": batch_size, "--cache": cache, "--part": None}
    given |= {"--precision": None if precision == "auto" else precision}
    words = [shards, "--teacher", teacher, "--out", str(out)]
    words += [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    with aside(as_json):
        from david.train.labels import ranks, work  # torch and timm: seconds, that no refusal waits for

        asked = work.Work(
            folder, place, out, shlex.join(words), fit, size, precision, device, batch_size, share, restart
        )
        shows = not (no_progress or as_json)
        if nproc > 1:
            told = ranks.label(asked, nproc, shows)
        else:
            with ends_on_sigterm(), progress_bar(Console(), "label") if shows else nullcontext(work.silent) as tell:
                told = work.label(asked, tell)
    if as_json:
        found = {"out": str(out), "samples": told.samples, "labelled": told.labelled, "whole": told.whole is not None}
        typer.echo(json.dumps(found | {"fingerprint": told.whole.fingerprint if told.whole else None}, indent=2))
        return
    kept = f", {told.samples - told.labelled:,} were there" if told.labelled < told.samples else ""
    typer.echo(shown(f"{many(told.labelled, 'sample')} labelled{kept}: {out}"))
    if told.whole is None:
        typer.echo(f"part {part} is done; other parts have still to write theirs")
