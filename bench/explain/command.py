"""`david bench explain`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from david.bench.options import RecipeName
from david.pack.files import make_folder, write_whole
from david.pack.options import AsJson, Device, Settings, aside

console = Console()


def explain(
    shards: Annotated[Path, typer.Option("--shards", metavar="DIR", help="A shard set's folder to train on.")],
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=2, help="Steps that count, behind a warm-up.")] = 40,
    device: Device = "auto",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for explain.json, explain.html and trace.json.")
    ] = Path("runs/explain"),
    as_json: AsJson = False,
) -> None:
    """Explain on what training spends its time, step by step.

    A recipe's own training is recorded for some steps, with evaluation and checkpoint. Shares of its critical path add
    up to 100%; a page shows them, what was waited for, and timelines.
    """
    from david.train import first_look, recipes
    from david.train.recipe import override

    chosen = override(recipes.recipe(recipe), assignments or [])
    first_look.at_shards([str(shards)])
    make_folder(out)

    from david.bench import rows
    from david.bench.explain import chrome, page, show
    from david.bench.explain.account import account
    from david.bench.explain.run import run
    from david.train.recipe import to_json

    with aside(as_json):
        found = account(run(chosen, shards, steps, device))
        told = {**rows.here(), "recipe": to_json(found.ran.recipe), **found.as_json()}
        trace = chrome.events(found.ran.tracks, found.path)
        for name, content in {
            "trace.json": json.dumps(trace),
            "explain.html": page.page(found, show.facts(told)),
            "explain.json": json.dumps(told, indent=1),
        }.items():
            write_whole(out / name, content.encode() + b"\n")
        show.show(found, console)
        console.print(f"{out}: explain.html, explain.json, trace.json", soft_wrap=True, highlight=False)
    if as_json:
        print(json.dumps(told, indent=2))
