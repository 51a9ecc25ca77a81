"""What a recipe learns from samples made on the spot, measured on others, beside a constant answer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console

from david.bench.result import Result
from david.pack import synth, tables
from david.pack.files import write_whole
from david.pack.shards import manifest
from david.pack.work.build import build
from david.pack.work.plan import PackOptions
from david.pipeline.loader import Loader
from david.train import distributed, loop, run
from david.train.eval import constant
from david.train.eval.answers import Constant
from david.train.eval.evaluate import evaluate
from david.train.metrics.table import METRICS
from david.train.recipe import Recipe, to_json

VAL_FRACTION = 0.1
SHOWN = {  # what a claim is made of -> how it is written, where it was measured
    "metric_abs_rel": "AbsRel {:.3f} in metres",
    "metric_a1": "{:.1%} within 1.25",
    "depth_abs_rel": "depth AbsRel {:.4f}",
    "normals_mean_deg": "normals {:.1f} degrees off",
    "alpha_iou": "alpha IoU {:.3f}",
}


Scored = dict[str, dict[str, float]]  # `trained` and `constant` -> metrics, see `train/metrics/metrics.py`


def measure(work: Path, samples: int, steps: int, recipe: Recipe, device: str, console: Console) -> Result:
    """Train for `steps` on nine tenths of `samples`, made in `work`. console: hears what is done"""
    recipe = replace(recipe, steps=steps)
    figures = learn(work, samples, recipe, device, console.print)
    dataset, trained = manifest.load(work / "shards"), run.stored(work / "run")
    assert trained is not None
    who = ("trained", "constant")
    table = tables.table("metric", *who, "unit", title="on held-out samples", right=who)
    for name, metric in METRICS.items():
        if name in figures["trained"]:
            table.add_row(name, *(f"{figures[one][name]:.4g}" for one in who), metric.unit)
    about = {
        "recipe": to_json(trained.recipe),
        "samples": dataset.samples("train"),
        "shards": {"fingerprint": dataset.fingerprint},
        "data": {"folder": "david synth"},
    }
    return Result("learn", figures, table, sentence(about | {"figures": figures}), about)


def learn(work: Path, samples: int, recipe: Recipe, device: str, told: Callable[[str], None]) -> Scored:
    """Make `samples` samples in `work`, train on nine tenths and measure on the others. Run again on the same folder it
    goes on where it was."""
    raw, shards = work / "raw", work / "shards"
    if not list(raw.glob("*.zip")):
        told(f"making {samples} samples")
        synth.write(raw, samples, zips=3, seed=0)
    told("packing them")
    build(raw, shards, PackOptions(val_fraction=VAL_FRACTION, shard_samples=100))
    told(f"training {recipe.name} for {recipe.steps} steps")
    return compare(shards, work / "run", recipe, device)


def compare(shards: Path, out: Path, recipe: Recipe, device: str, speaks: bool = True) -> Scored:
    """Train in `out`; what that reaches on the held-out samples, and what a constant answer does."""
    trained = loop.train(recipe, shards, out, device=device, speaks=speaks).metrics
    how: dict[str, Any] = {"batch_size": recipe.batch_size, "seed": recipe.seed, "train": False}
    with distributed.joined("cpu") as world:
        with Loader(shards, "val", recipe.data, **how) as loader:
            flat = Constant(constant.of_batches(loader))
        with Loader(shards, "val", recipe.data, **how) as loader:
            return {"trained": trained, "constant": evaluate(flat, loader, world)}


def sentence(row: dict[str, Any]) -> str:
    """What the README says of a row that `david bench learn` made."""
    figures, steps, recipe = row["figures"], row["recipe"]["steps"], row["recipe"]["name"]
    trained, constant = (
        ", ".join(form.format(figures[who][name]) for name, form in SHOWN.items() if name in figures["trained"])
        for who in ("trained", "constant")
    )
    return (
        f"After {steps} steps of the {recipe} recipe on {row['samples']} samples of `david synth`, on "
        f"{figures['trained']['samples']} others: {trained}. A constant answer: {constant}."
    )


def picture(work: Path, steps: int, out: Path) -> None:
    """The sheet of held-out samples after the last step at half its size, as the JPEG `out`: what the README shows."""
    sheet = cv2.imread(str(work / "run" / "pictures" / f"step-{steps:08d}.png"))
    assert sheet is not None
    small = cv2.resize(sheet, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
