"""Losses and metrics over the steps of one run or of several, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from david.model.heads.table import HEADS
from david.pack.errors import DavidError
from david.train.journal import read
from david.train.losses.table import TERMS
from david.train.metrics.table import METRICS

ACROSS = 4  # panels in a row of `compare`
PACE = {  # what is drawn besides losses and metrics -> its unit, and which way is better
    "norm": "norm of the gradient",
    "rate": "learning rate",
    "samples_per_s": "samples/s, higher is better",
    "wait": "share of the time, lower is better",
}
EXACT = ("rate", *METRICS)  # are drawn as they are
SHARE = 0.05  # of the steps, that a mean is taken over


def draw(journal: Path, out: Path) -> None:
    """Draw the journal's loss and its terms into the PNG `out`, a panel for each head: steps faint, means strong."""
    pyplot = plotting()
    records = [record for record in read(journal) if record["loss"] is not None]
    terms = {name: term.head for name, term in TERMS.items() if records and name in records[0]}
    steps = [record["step"] for record in records]
    panels = {"all": ["loss"]} | {head: [name for name in terms if terms[name] == head] for head in HEADS}
    panels = {head: found for head, found in panels.items() if found}
    figure, grid = pyplot.subplots(1, len(panels), figsize=(4.2 * len(panels), 4.2), squeeze=False, sharex=True)
    for axes, (head, found) in zip(grid.flat, panels.items(), strict=True):
        for name in found:
            values = [record[name] for record in records]
            over(axes, steps, values, label=name)
        loss = head == "all"
        axes.set(title="loss: the weighted sum of all terms" if loss else f"{head}: terms before their weights")
        axes.set(xlabel="step", ylabel="loss, lower is better" if loss else "term, lower is better", yscale="log")
        plain(axes)
        if not loss:
            axes.legend(framealpha=0.7, fontsize="small")
    name = journal.absolute().parent.name
    figure.suptitle(
        f"{name}: training loss. Faint: each step; strong: the mean over {SHARE:.0%} of the steps around it"
    )
    width, height = figure.get_size_inches()  # fixed margins: to fit them takes longer than to draw, in each run
    margins = {"left": 0.65 / width, "right": 1 - 0.15 / width, "bottom": 0.55 / height, "top": 1 - 0.65 / height}
    figure.subplots_adjust(**margins, wspace=0.25)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def compare(runs: Sequence[Path], out: Path) -> None:
    """Draw a panel for each loss, metric and pace that any of the runs has, the runs over each other, into `out`.

    Raises DavidError for a folder without a step in its journal."""
    curves = {run: series(run) for run in runs}
    pyplot = plotting()
    names = [name for name in ("loss", *TERMS, *METRICS, *PACE) if any(name in found for found in curves.values())]
    rows = -(-len(names) // ACROSS)
    figure, grid = pyplot.subplots(rows, ACROSS, figsize=(4.2 * ACROSS, 2.9 * rows), squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        for number, (run, found) in enumerate(curves.items()):
            steps, values = found.get(name, ([], []))
            how = {"color": f"C{number}", "label": run.name if name == "loss" else None}
            if name in EXACT:
                axes.plot(steps, values, marker="." if name in METRICS else "", **how)
            else:
                over(axes, steps, values, **how)
        lossy = name == "loss" or name in TERMS
        axes.set(title=name, xlabel="step", ylabel=meaning(name), yscale="log" if lossy else "linear")
        plain(axes)
    figure.legend(loc="upper center", ncols=ACROSS, frameon=False, bbox_to_anchor=(0.5, 0))
    figure.suptitle("Runs compared: losses in training, metrics on held-out samples, pace")
    figure.tight_layout()
    figure.savefig(out, dpi=100, bbox_inches="tight")
    pyplot.close(figure)


def meaning(name: str) -> str:
    """What an axis says: the unit, and which way is better."""
    if name in METRICS:
        metric = METRICS[name]
        return f"{metric.unit}, {'higher' if metric.grows else 'lower'} is better"
    if name in PACE:
        return PACE[name]
    return "weighted sum, lower is better" if name == "loss" else "before its weight, lower is better"


def plain(axes: Any) -> None:
    """A faint grid, and plain numbers on a logarithmic axis."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.grid(alpha=0.3)
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.2g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def over(axes: Any, steps: list[int], values: list[float], **how: Any) -> None:
    """The mean over each step's surroundings, and behind it, faint, each value."""
    (line,) = axes.plot(steps, smooth(values), **how)
    axes.plot(steps, values, color=line.get_color(), alpha=0.2, linewidth=0.8)


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


def smooth(values: Sequence[float], share: float = SHARE) -> list[float]:
    """For each value the mean of those around it, as many before as behind: about `share` of all, fewer at the ends.

    It is centred, so that it does not lag behind what it follows."""
    series, half = np.asarray(values, np.float64), max(1, round(len(values) * share / 2))
    sums = np.concatenate(([0.0], np.cumsum(series)))
    places = np.arange(len(series))
    reach = np.minimum(half, np.minimum(places, len(series) - 1 - places))  # as far to one side as to the other
    return ((sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)).tolist()
