"""Losses and metrics over the steps of one run or of several, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from david.pack.errors import DavidError
from david.train.eval.metrics import METRICS
from david.train.journal import read
from david.train.objective import TERMS

ACROSS = 4  # panels in a row of `compare`
PACE = ("norm", "rate", "samples_per_s", "wait")


def draw(journal: Path, out: Path) -> None:
    """Draw the journal's loss and its terms into the PNG `out`: each step faint, their running mean strong."""
    pyplot = plotting()
    records = [record for record in read(journal) if record["loss"] is not None]
    names = [name for name in ("loss", *TERMS) if records and name in records[0]]
    steps = [record["step"] for record in records]
    figure, axes = pyplot.subplots(figsize=(9, 5), constrained_layout=True)
    for name in names:
        values = [record[name] for record in records]
        (line,) = axes.plot(steps, smooth(values), label=name, linewidth=2.2 if name == "loss" else 1.2)
        axes.plot(steps, values, color=line.get_color(), alpha=0.15, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def compare(runs: Sequence[Path], out: Path) -> None:
    """Draw a panel for each loss, metric and pace that any of the runs has, the runs over each other, into `out`.

    Raises DavidError for a folder without a step in its journal."""
    pyplot = plotting()
    curves = {run: series(run) for run in runs}
    names = [name for name in ("loss", *TERMS, *METRICS, *PACE) if any(name in found for found in curves.values())]
    rows = -(-len(names) // ACROSS)
    figure, grid = pyplot.subplots(rows, ACROSS, figsize=(4 * ACROSS, 2.7 * rows), squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        for number, (run, found) in enumerate(curves.items()):
            steps, values = found.get(name, ([], []))
            colour, label = f"C{number}", run.name if name == "loss" else None
            if name in METRICS or name == "rate":  # exact as they are
                axes.plot(steps, values, color=colour, marker="." if name in METRICS else "", label=label)
            else:
                axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
                axes.plot(steps, smooth(values), color=colour, label=label)
        axes.set(title=name, yscale="log" if name == "loss" or name in TERMS else "linear")
        axes.grid(alpha=0.3)
    figure.legend(loc="upper center", ncols=ACROSS, frameon=False, bbox_to_anchor=(0.5, 0))
    figure.tight_layout()
    figure.savefig(out, dpi=100, bbox_inches="tight")
    pyplot.close(figure)


def series(run: Path) -> dict[str, tuple[list[int], list[float]]]:
    """Each quantity of a run: the steps that have it, and its values. Skipped steps are left out."""
    found: dict[str, tuple[list[int], list[float]]] = {}
    lines = [record for record in read(run / "journal.jsonl") if record["loss"] is not None]
    if not lines:
        raise DavidError(f"{run}: no steps in a journal there; give the folder of a run that has trained")
    for record in (*lines, *read(run / "metrics.jsonl")):
        for name, value in record.items():
            steps, values = found.setdefault(name, ([], []))
            steps.append(record["step"])
            values.append(value)
    return found


def plotting() -> Any:
    """Matplotlib's pyplot, drawing into files without a screen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def smooth(values: list[float], share: float = 0.05) -> list[float]:
    """The running mean with the weight of each new value `share`, and larger while there are few."""
    smoothed, mean = [], 0.0
    for count, value in enumerate(values, start=1):
        mean += max(share, 1 / count) * (value - mean)
        smoothed.append(mean)
    return smoothed
