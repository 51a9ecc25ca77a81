"""Which evaluation of a run was the best: a pure function of metrics.jsonl and of the metric's own definition."""

from pathlib import Path

from david.pack.errors import DavidError
from david.train.journal import read
from david.train.metrics.table import METRICS


def check(name: str, heads: tuple[str, ...]) -> None:
    """Raise DavidError where there is no metric of that name, or none that these heads are measured by."""
    there = [each for each, metric in METRICS.items() if metric.head in heads]
    if name not in there:
        raise DavidError(f"recipe: best is {name}; for the heads {', '.join(heads)} there are {', '.join(there)}")


def best_step(metrics: Path, name: str) -> int | None:
    """The step after which metric `name` was best, the first of equals; None where it was never measured."""
    found = {record["step"]: record[name] for record in read(metrics) if name in record}
    return (max if METRICS[name].grows else min)(found, key=found.__getitem__, default=None)
