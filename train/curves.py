"""A run's loss over its steps, as a picture."""

from pathlib import Path

from david.train.journal import read
from david.train.objective import TERMS


def draw(journal: Path, out: Path) -> None:
    """Draw the journal's loss and its terms into the PNG `out`: each step faint, their running mean strong."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

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


def smooth(values: list[float], share: float = 0.05) -> list[float]:
    """The running mean with the weight of each new value `share`, and larger while there are few."""
    smoothed, mean = [], 0.0
    for count, value in enumerate(values, start=1):
        mean += max(share, 1 / count) * (value - mean)
        smoothed.append(mean)
    return smoothed
