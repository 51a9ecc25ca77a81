"""`david bench learn`: what a recipe learns, as a table, a sentence for the README, a picture and a row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.table import Table

from david.bench import rows
from david.bench.suites.learn import learn, sentence
from david.pack.files import write_whole
from david.pack.shards import manifest
from david.train import run
from david.train.metrics.metric import METRICS
from david.train.recipe import Recipe, to_json


def measure(work: Path, samples: int, steps: int, recipe: Recipe, device: str, console: Console) -> dict[str, Any]:
    """Train for `steps` on nine tenths of `samples`, made in `work`; print what was learnt and return the row."""
    recipe = replace(recipe, steps=steps)
    figures = learn(work, samples, recipe, device, console.print)
    dataset, trained = manifest.load(work / "shards"), run.stored(work / "run")
    assert trained is not None
    row = rows.row(
        "learn",
        figures,
        recipe=to_json(trained.recipe),
        samples=dataset.samples("train"),
        shards={"fingerprint": dataset.fingerprint},
        data={"folder": "david synth"},
    )
    table = Table("metric", "trained", "constant", "unit", title="on held-out samples", title_justify="left")
    for name, metric in METRICS.items():
        if name in figures["trained"]:
            table.add_row(name, *(f"{figures[who][name]:.4g}" for who in ("trained", "constant")), metric.unit)
    console.print(table)
    console.print(sentence(row), soft_wrap=True, highlight=False)
    return row


def picture(work: Path, steps: int, out: Path) -> None:
    """The sheet of held-out samples after the last step at half its size, as the JPEG `out`: what the README shows."""
    sheet = cv2.imread(str(work / "run" / "pictures" / f"step-{steps:08d}.png"))
    assert sheet is not None
    small = cv2.resize(sheet, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
