"""`david doctor`: a line for each check, as it comes."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from david.bench.doctor import checkup
from david.bench.doctor.check import Asked, Finding
from david.pack.errors import DavidError, shown
from david.pack.options import AsJson

STYLES = {"ok": "green", "note": "yellow", "broken": "bold red"}
NAME_WIDTH = 26


def doctor(
    disk: Annotated[Path, typer.Option("--disk", metavar="DIR", help="Folder whose disk is measured.")] = Path(),
    device: Annotated[
        str, typer.Option("--device", metavar="auto|cpu", help="What to look at; cpu leaves GPUs alone.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Say what this machine has, whether it works, and what to do.

    Exit code 1 where something is broken. What is absent and not needed here is ok.
    """
    if device not in ("auto", "cpu"):
        raise DavidError(f"--device {device}: there are auto and cpu")
    if not disk.is_dir():
        raise DavidError(f"--disk {disk}: no such folder; name one that is there")
    asked, found = Asked(str(disk.absolute()), device), []
    console = Console(stderr=as_json)
    for one in checkup.checkup(asked, checkup.TABLE):
        found.append(one)
        show(console, one)
    if as_json:
        print(json.dumps([one._asdict() for one in found], indent=2))
        sys.stdout.flush()
    broken = [one.name for one in found if not one.ok]
    if broken:
        console.print(f"broken: {', '.join(broken)}", style="bold red", soft_wrap=True, highlight=False)
        raise typer.Exit(1)
    console.print("nothing is broken", style="bold green")


def show(console: Console, one: Finding) -> None:
    """A line with the verdict, and one with what to do where there is anything."""
    line = Text(f"{one.verdict:<7}", STYLES[one.verdict])
    line.append(f"{one.name:<{NAME_WIDTH}}", "bold").append(shown(one.found), "")
    console.print(line, soft_wrap=True, highlight=False)
    if one.advice:
        console.print(Text(f"{'':<7}{'':<{NAME_WIDTH}}{shown(one.advice)}", "dim"), soft_wrap=True, highlight=False)
