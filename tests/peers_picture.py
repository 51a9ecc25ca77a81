"""The picture of the loaders in the README: bars of the newest row, as a PNG that tells what it shows.

`python tests/readme.py` draws it anew beside the text. Its metadata hold the bars as they stand in the picture, read
back from what was drawn, so that a test can hold the picture to the row whatever matplotlib makes of its bytes.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

Row = dict[str, Any]
OURS, FLOOR, OTHERS, INK = "#1f6feb", "#c9d7ee", "#a8b0ba", "#30363d"
SIZE, DPI = (8.0, 3.1), 150  # inches, and dots an inch: 1,200 wide, twice what the README's page shows


def drawn(row: Row, names: dict[str, str]) -> Figure:
    """Samples/s of each loader, fastest first, with the range over its rounds. names: that the README's table has"""
    rates = {name: found["rate"] for name, found in row["figures"].items()}
    order = sorted(rates, key=lambda name: rates[name]["median"])
    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    middles = [rates[name]["median"] for name in order]
    spread = [[abs(rates[name][end] - rates[name]["median"]) for name in order] for end in ("least", "most")]
    colours = [{"david": OURS, "floor": FLOOR}.get(name, OTHERS) for name in order]
    axes.barh([names[name].strip("*") for name in order], middles, xerr=spread, color=colours, ecolor=INK, height=0.72)
    for place, name in enumerate(order):
        axes.text(rates[name]["most"] + 12, place, f"{rates[name]['median']:,.0f}", va="center", size=9, color=INK)
    for label, name in zip(axes.get_yticklabels(), order, strict=True):
        label.set(fontweight="bold" if name == "david" else "normal", fontsize=9, color=INK)
    axes.set_xlabel("samples/s: median, and range over the rounds", size=9, color=INK)
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.spines[:].set_visible(False)
    axes.margins(x=0.08)
    return figure


def shown(figure: Figure) -> dict[str, float]:
    """The bars of a figure: label -> length."""
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return {label: bar.get_width() for label, bar in zip(labels, axes.patches, strict=True)}  # pyright: ignore


def write(row: Row, names: dict[str, str], path: Path) -> None:
    figure = drawn(row, names)
    told = {"bars": shown(figure), "when": row["when"], "commit": row["commit"]}
    figure.savefig(path, metadata={"Description": json.dumps(told), "Software": None})


def told(path: Path) -> dict[str, Any]:
    """What a picture of `write` says of itself."""
    with Image.open(path) as picture:
        return json.loads(picture.info["Description"])
