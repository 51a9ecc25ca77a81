"""From raw rooms in NYU Depth V2's published layout to a table, by david's commands, beside what can be said without
looking: `python tests/learn_rooms.py WORK` adds a row to bench/results/metric-cpu.jsonl.

Two answers stand beside the network's, both with hindsight. The constant has the least AbsRel on the rooms held out.
Scale alone is the rooms' mean shape, at each place the geometric mean of the depth in all training rooms, times the one
number that brings it nearest to those held out.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from layouts import nyu
from typer.testing import CliRunner

from david.cli import app
from david.pack import tables
from david.pipeline.loader import Loader
from david.train import run as runs
from david.train.eval.constant import best_m
from david.train.metrics.metric_depth import metric_depth
from david.train.recipe import Recipe, to_json

ROWS = Path(__file__).resolve().parent.parent / "bench" / "results" / "metric-cpu.jsonl"
TRAIN, TEST, SIZE, STEPS = 600, 60, (72, 96), 500  # rooms; rows and columns of their pictures
WHO = {"trained": "the network", "scale": "mean shape, best scale", "constant": "best constant"}

Scores = dict[str, dict[str, float]]  # of `WHO`


def command(*words: object) -> str:
    """What `david` with these words prints. It has to end well."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def learn(work: Path, train: int, test: int, size: tuple[int, int], settings: list[str]) -> tuple[Scores, Path]:
    """Draw, pack, train and measure in `work`: scores on the rooms held out, and the run. settings: for --set."""
    raw, shards, run = work / "raw", work / "shards", work / "run"
    nyu(raw, train, test, size)
    command("pack", raw, shards, "--workers", 1)
    sets = [word for setting in settings for word in ("--set", setting)]
    where = ["--device", "cpu"]
    command("train", "--shards", shards, "--recipe", "metric-smoke", "--out", run, *where, *sets)
    trained = json.loads(command("eval", "--run", run, "--split", "test", "--json", *where))["metrics"]
    return {"trained": trained, **unseeing(shards, runs.trained(run).recipe)}, run


def unseeing(shards: Path, recipe: Recipe) -> Scores:
    """What the best constant and the best scale of the mean shape reach on the test split."""
    logs, seen = [], []
    for depth, valid in depths(shards, "train", recipe):
        logs.append(torch.where(valid, depth.clamp(min=1e-3).log(), 0).sum(0))
        seen.append(valid.sum(0))
    shape = (torch.stack(logs).sum(0) / torch.stack(seen).sum(0).clamp(min=1)).exp()
    held_out = list(depths(shards, "test", recipe))
    images = [(depth, there) for some, valid in held_out for depth, there in zip(some, valid, strict=True)]
    constant = best_m([depth[there].numpy() for depth, there in images])
    # AbsRel of c x shape is that of c against depth / shape
    scale = best_m([(depth / shape)[there].numpy() for depth, there in images])
    return {
        "scale": mean(held_out, shape * scale),
        "constant": mean(held_out, torch.full_like(shape, constant)),
    }


def depths(shards: Path, split: str, recipe: Recipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Metres and where they hold, (B, 1, H, W) each, as evaluation sees them."""
    with Loader(shards, split, recipe.data, batch_size=16, seed=0, train=False) as loader:
        for batch in loader:
            scale, offset = (x.view(-1, 1, 1, 1) for x in (batch.depth_scale_m, batch.depth_offset_m))
            target = batch.targets["depth"]
            yield target.value.float() * scale + offset, target.valid & batch.real.view(-1, 1, 1, 1)


def mean(held_out: list[tuple[torch.Tensor, torch.Tensor]], said: torch.Tensor) -> dict[str, float]:
    """The figures of one answer to all images, images without truth left out."""
    found = [metric_depth(said.expand_as(depth), depth, valid) for depth, valid in held_out]
    names = found[0]
    return {f"metric_{name}": float(np.nanmean(torch.cat([one[name] for one in found]).numpy())) for name in names}


def sentence(row: dict[str, Any]) -> str:
    """What docs/metric-depth.md says of a row."""
    figures = row["figures"]
    said = "; ".join(
        f"{who}: AbsRel {figures[name]['metric_abs_rel']:.3f}, {figures[name]['metric_a1']:.1%} within 1.25"
        for name, who in WHO.items()
    )
    trained = f"After {row['recipe']['steps']} steps of metric-smoke on {row['samples']} drawn rooms"
    return f"{trained}, on {row['test']} others. {said[0].upper()}{said[1:]}."


def main(work: Path) -> None:
    from rich.console import Console

    from david.bench import rows

    scores, run = learn(work, TRAIN, TEST, SIZE, [f"steps={STEPS}"])
    about = {
        "recipe": to_json(runs.trained(run).recipe),
        "samples": TRAIN,
        "test": TEST,
        "data": {"folder": "rooms drawn by the tests"},
    }
    row = rows.row("metric", scores, verdict=None, **about)
    rows.append(ROWS, row)
    table = tables.table("metric", *WHO, right=tuple(WHO))
    for name in scores["constant"]:
        table.add_row(name, *(f"{scores[who][name]:.4g}" for who in WHO))
    tables.show(Console(), table)
    print(sentence(row))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
