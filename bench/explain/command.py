"""`david bench explain`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from david.bench.options import RecipeName, Rounds
from david.pack.errors import DavidError
from david.pack.files import make_folder, write_whole
from david.pack.options import AsJson, Device, Settings, aside

console = Console()


def explain(
    shards: Annotated[Path, typer.Option("--shards", metavar="DIR", help="A shard set's folder to train on.")],
    recipe: RecipeName = "smoke",
    assignments: Settings = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=2, help="Steps that count, behind a warm-up.")] = 40,
    what_if: Annotated[
        list[str] | None,
        typer.Option("--if", metavar="NAME=VALUE", help="Predict with something else, as threads=4; repeatable."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Run what was predicted, too, where it can be.")] = False,
    rounds: Rounds = 2,
    device: Device = "auto",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for explain.json, explain.html and trace.json.")
    ] = Path("runs/explain"),
    as_json: AsJson = False,
) -> None:
    """Explain on what training spends its time, step by step.

    A recipe's own training is recorded for some steps, with evaluation and checkpoint. Shares of its critical path add
    up to 100%; a page shows them, what was waited for, and timelines. What would have been with --if is computed by
    replaying the record: with another number of threads, prefetch, batch, micro_batch, cores or ranks, with storage=50
    for MB/s, with a stage half as long by decode=x0.5 or 2 ms longer by decode=+2, where there is a GPU with images
    decoded there by decode=gpu; several at once with commas.
    """
    from david.bench.explain import ifs

    whats = ifs.parse(what_if or [])
    if check and not whats:
        raise DavidError("--check: there is nothing to check; name a change with --if, as --if threads=4")
    from david.train import first_look, recipes
    from david.train.recipe import override

    chosen = override(recipes.recipe(recipe), assignments or [])
    first_look.at_shards([str(shards)])
    make_folder(out)

    from david.bench import rows
    from david.bench.explain import chrome, page, show
    from david.bench.explain.account import account
    from david.bench.explain.check import Checks
    from david.bench.explain.run import run, settled_here
    from david.train import distributed
    from david.train.recipe import to_json
    from david.train.use.stopping import Terminated

    if (ranks := distributed.place(os.environ).size) > 1:
        raise DavidError(f"explain: records one process, here are {ranks} ranks; start it by itself, with --if ranks=N")
    chosen, on_gpu = settled_here(chosen, device), distributed.device_of(device).type == "cuda"
    if (placed := next((one for one in whats if one.decode), None)) and not on_gpu:
        raise DavidError(f"--if {placed.text}: batches are made for the CPU here, where nothing else decodes")
    if whats and on_gpu and chosen.parallel == "exact":
        raise DavidError("--if: parallel=exact asks a GPU from several threads, which is not replayed; take ddp")
    for one in whats:
        one.recipe(chosen)
    with aside(as_json):
        with Terminated(), Console(stderr=True).status("recording") as status:
            found = account(run(chosen, shards, steps, device))
            checks = Checks(chosen, shards, steps, device, status.update)
            checked = checks.all(found.ran, whats, rounds if check else 0)
        told = {**rows.here(), "recipe": to_json(chosen), **found.as_json(), "ifs": [one.as_json() for one in checked]}
        told["replay"] = checks.replayed
        for name, content in {
            "trace.json": json.dumps(chrome.events(found.ran.tracks, found.path)),
            "explain.html": page.page(found, show.facts(told), checked),
            "explain.json": json.dumps(told, indent=1),
        }.items():
            write_whole(out / name, content.encode() + b"\n")
        show.show(found, console, checked)
        if check:
            rows.append(out / "rows.jsonl", show.row(found, checked, rounds, shards))
        console.print(f"{out}: explain.html, explain.json, trace.json", soft_wrap=True, highlight=False)
    if as_json:
        print(json.dumps(told, indent=2))
