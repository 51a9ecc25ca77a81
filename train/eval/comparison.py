"""Several who were measured on the same samples, side by side: a table, comparison.json and comparison.csv."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from david.pack import tables
from david.train.eval import report
from david.train.eval.evaluate import Scores
from david.train.eval.subjects import in_words
from david.train.metrics.table import METRICS

COMPARISON_JSON, COMPARISON_CSV = "comparison.json", "comparison.csv"


@dataclass(frozen=True)
class Column:
    """One who was measured. folder: what its own files lie in, inside the comparison's"""

    name: str
    folder: str
    source: str
    scores: Scores

    @property
    def means(self) -> dict[str, float]:
        return self.scores.means()


def leave(console: Console, title: str, out: Path, columns: Sequence[Column], about: dict[str, Any]) -> None:
    """Write both files into the folder `out`, and print the table with its legend."""
    report.write(out, {COMPARISON_JSON: as_json(columns, about), COMPARISON_CSV: as_csv(columns)})
    tables.show(console, table(title, columns))
    tables.tell(console, legend(columns))


def metrics_of(columns: Sequence[Column]) -> list[str]:
    """Those that anybody who looks was measured by, in the order of the table of all."""
    looks = [column for column in columns if column.source]
    return [name for name in METRICS if any(name in column.means for column in looks)]


def legend(columns: Sequence[Column]) -> dict[str, str]:
    """What the numbers over the table's columns stand for."""
    return {
        str(number): f"{column.name}, {in_words(column.scores.precision)}"
        for number, column in enumerate(columns, start=1)
    }


def table(title: str, columns: Sequence[Column]) -> Table:
    """A row a metric, a column for each by its number in `legend`; empty where one says nothing of it."""
    numbers = [str(number) for number in range(1, len(columns) + 1)]
    drawn = tables.table("metric, mean", *numbers, "unit", "better", title=title, right=numbers)
    for name in metrics_of(columns):
        metric = METRICS[name]
        found = [f"{column.means[name]:.4g}" if name in column.means else "" for column in columns]
        drawn.add_row(name, *found, metric.unit, "higher" if metric.grows else "lower")
    return drawn


def as_json(columns: Sequence[Column], about: dict[str, Any]) -> bytes:
    """`about`, and of each who it is, how it computed, and its means."""
    names = metrics_of(columns)
    subjects = [
        {
            **{"name": column.name, "source": column.source, "folder": column.folder},
            **{"precision": column.scores.precision},
            "metrics": {name: column.means[name] for name in names if name in column.means},
        }
        for column in columns
    ]
    content = about | {
        "samples": len(columns[0].scores.ids),
        "subjects": subjects,
        "units": {name: METRICS[name].unit for name in names},
    }
    return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"


def as_csv(columns: Sequence[Column]) -> bytes:
    """A line a metric: its name, unit, which way is better, and the mean of each."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["metric", "unit", "better", *(column.name for column in columns)])
    for name in metrics_of(columns):
        means = [f"{column.means[name]:.7g}" if name in column.means else "" for column in columns]
        lines.writerow([name, METRICS[name].unit, "higher" if METRICS[name].grows else "lower", *means])
    return text.getvalue().encode()
