"""What an evaluation leaves: a table for the screen, metrics.json, samples.csv, a sheet of each head's worst cases."""

import csv
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import nn

from david.pack import tables
from david.pack.files import write_whole
from david.pack.look import preview
from david.pipeline.loader import Loader
from david.pipeline.reading.reader import Reader
from david.train.eval import pictures
from david.train.eval.evaluate import Scores
from david.train.metrics.table import METRICS

METRICS_JSON = "metrics.json"


def table(title: str, scores: Scores) -> Table:
    """Mean, median and the sample that does worst, for each metric."""
    figures = ("mean", "median", "worst")
    drawn = tables.table("metric", *figures, "unit", "better", title=title, right=figures)
    for name, values in scores.values.items():
        metric, measured = METRICS[name], sorted(value for value in values.tolist() if value == value)
        if measured:
            found = (scores.means()[name], measured[len(measured) // 2], measured[0 if metric.grows else -1])
            drawn.add_row(name, *(f"{x:.4g}" for x in found), metric.unit, "higher" if metric.grows else "lower")
    return drawn


def metrics_json(scores: Scores, about: dict[str, Any]) -> bytes:
    """`about`, and the means with their units."""
    means = {name: value for name, value in scores.means().items() if name != "samples"}
    content = about | {
        "samples": len(scores.ids),
        "metrics": means,
        "units": {name: METRICS[name].unit for name in means},
    }
    return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"


def samples_csv(scores: Scores, reader: Reader) -> bytes:
    """A line a sample: its place in the split, its name, each metric; empty where there was nothing to measure on."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["id", "name", *scores.values])
    for place, sample in enumerate(scores.ids.tolist()):
        values = [float(column[place]) for column in scores.values.values()]
        lines.writerow([sample, reader.key(sample), *("" if v != v else f"{v:.7g}" for v in values)])
    return text.getvalue().encode()


@torch.inference_mode()
def worst_cases(
    network: nn.Module,
    scores: Scores,
    reader: Reader,
    one: Callable[[int], AbstractContextManager[Loader]],
    most: int,
    half: torch.dtype | None,
) -> dict[str, bytes]:
    """A PNG for each head, by file name: RGB, target, prediction and error of the samples that do worst.

    one: a loader that begins with the sample of this id, in batches of one; half: as in `evaluate.score`"""
    sheets = {}
    for ranked_by, metric in METRICS.items():
        head = metric.head
        if not metric.ranks or head not in pictures.PICTURES:
            continue
        rows, captions, labels = [], [], []
        for sample in scores.worst(ranked_by, most) if ranked_by in scores.values else []:
            with one(sample) as loader:
                batch = next(loader)
            columns = dict(pictures.by_head(pictures.predict(network, batch, half), batch))[head]
            labels = ["rgb", *(column.label for column in columns)]
            rows.append([pictures.array(batch.image)[0], *(column.pictures[0] for column in columns)])
            value = scores.values[ranked_by][scores.ids.tolist().index(sample)]
            said = [column.captions[0] for column in columns[:-1]]
            said.append(f"{ranked_by} {value:.4g}")
            captions.append([f"{reader.key(sample)} ({sample})", *said])
        if rows:
            sheets[f"worst-{head}.png"] = preview.png(preview.sheet(rows, labels, captions))
    return sheets


def write(out: Path, files: dict[str, bytes]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(out / name, content)
