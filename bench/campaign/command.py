"""`david bench campaign`: what the command line asks for, and what it shows meanwhile."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from david.bench.campaign import conduct, page, plan
from david.bench.campaign.part import DONE
from david.pack import tables
from david.pack.errors import DavidError
from david.pack.files import require_place

console = Console()


def campaign(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Its folder; one that holds a campaign goes on.")],
    minutes: Annotated[float, typer.Option("--minutes", metavar="N", min=0.1, help="What all of it may take.")] = 9.0,
    shards: Annotated[
        Path | None,
        typer.Option("--shards", metavar="DIR", help="A shard set to measure on.", show_default="drawn on the spot"),
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="What to measure.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the parts and their time, and begin none.")] = False,
) -> None:
    """Measure all that a new machine should be asked, in parts.

    The doctor, the tests of GPUs, loaders, steps by precision, compiler, attention and batch, and a plain trainer. Each
    part runs by itself and keeps its row as it ends; the same command goes on with the parts that are missing.
    """
    until = time.time() + 60 * minutes
    if device not in ("auto", "cpu", "cuda"):
        raise DavidError(f"--device {device}: there are auto, cpu and cuda")
    if shards is not None:
        from david.train import first_look

        first_look.at_shards([str(shards)])
    if dry_run:
        chosen = device if device != "auto" else conduct.machine(device)[1]
        parts = plan.parts_for(chosen)
        made = tables.table("part", "at most, s", "asks", right=("at most, s",), words=("asks",))
        for part, limit_s in conduct.shares(conduct.left(out, parts), until - time.time()):
            made.add_row(part.name, f"{limit_s:.0f}" if limit_s else "skipped", part.asks)
        tables.show(console, made)
        console.print("A part that ends early leaves its time to those behind it.", soft_wrap=True)
        return
    require_place(out)
    here, chosen = conduct.machine(device)
    parts = plan.parts_for(chosen)

    def told(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False, highlight=False)

    conduct.conduct(out, parts, here, chosen, shards, until, told, device)
    found = conduct.newest(out)
    tables.show(console, page.table(parts, found))
    missing = [part.name for part in parts if found.get(part.name, {}).get("status") != DONE]
    if missing:
        told(f"the same command goes on with: {', '.join(missing)}")
    told(f"{out / conduct.ROWS}: a row a part; {out / page.NAME}: the same as a page")
