"""Predictions beside samples: the page and the sheet of `david view --weights`. Whoever predicts hands in what stands
beside each sample; here it is laid out.

H rows, W columns.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from david.pack.files import require_place
from david.pack.look import preview, view
from david.pack.shards.sample import Sample

LONGEST = 768  # pixels of a picture's longer side on the page: there are many of each sample

Scores = dict[str, list[float | None]]  # metric -> a number for each who is compared, None where there is none


@dataclass(frozen=True)
class Cell:
    """A picture beside a sample's own. picture: (H, W, 3) uint8, None leaves the place empty; caption: what it says in
    numbers"""

    title: str = ""
    picture: np.ndarray | None = None
    caption: str = ""


@dataclass(frozen=True)
class Beside:
    """What stands beside a sample. rows: for each field, by the name that samples have for it, its cells, as many in
    each row"""

    rows: dict[str, list[Cell]]
    scores: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """Who is compared. names: of each; beside: what they say of a sample; metrics: name -> unit, and whether more is
    better"""

    names: list[str]
    beside: Callable[[Sample], Beside]
    metrics: dict[str, tuple[str, bool]]


def page(title: str, found: Iterable[tuple[str, Sample]], compared: Compared, out: Path) -> tuple[int, Scores]:
    """Write the page of (split, sample) with what is compared beside each. Returns how many there are, and means.

    Raises OSError, before any sample is looked at, where it can't be written."""
    require_place(out.parent)
    entries = [_entry(split, sample, compared.beside(sample)) for split, sample in found]
    averages = means(one["scores"] for one in entries)
    about = {
        "names": compared.names,
        "means": averages,
        "metrics": {name: {"unit": unit, "grows": grows} for name, (unit, grows) in compared.metrics.items()},
    }
    view.write(out, title, entries, about)
    return len(entries), averages


def sheet(found: Iterable[tuple[str, Sample]], compared: Compared, out: Path) -> tuple[int, Scores]:
    """Write a PNG with a line for each sample, the cells of the page one after the other; as `page` else."""
    require_place(out.parent)
    lines, scores = [], []
    for _, sample in found:
        beside = compared.beside(sample)
        first, *others = _cells(sample, beside)
        lines.append([Cell(first.title, first.picture, preview.caption(sample)), *others])
        scores.append(beside.scores)
    columns = max(map(len, lines))
    empty = np.tile(preview.INVALID, (1, 1, 1))
    drawn = preview.sheet(
        rows=[[empty if cell.picture is None else cell.picture for cell in line] for line in lines],
        labels=[next((line[at].title for line in lines if at < len(line)), "") for at in range(columns)],
        captions=[[cell.caption for cell in line] + [""] * (columns - len(line)) for line in lines],
    )
    preview.write_png(out, drawn)
    return len(lines), means(scores)


def means(scores: Iterable[Scores]) -> Scores:
    """The mean of each column over the samples that it was measured on."""
    columns: dict[str, list[list[float]]] = {}
    for one in scores:
        for name, values in one.items():
            for column, value in zip(columns.setdefault(name, [[] for _ in values]), values, strict=True):
                column += [] if value is None else [value]
    return {name: [float(np.mean(one)) if one else None for one in found] for name, found in columns.items()}


def _entry(split: str, sample: Sample, beside: Beside) -> dict[str, Any]:
    """What the page needs of one sample: rows of one field each behind its RGB."""
    cells = _cells(sample, beside)
    return view.entry(split, sample, pictured=False) | {
        "titles": [cell.title for cell in cells],
        "captions": [cell.caption for cell in cells],
        "pictures": [cell.picture is not None and view.small(cell.picture, LONGEST) for cell in cells],
        "across": (len(cells) - 1) // max(len(_rows(sample, beside)), 1),
        "scores": beside.scores,
    }


def _rows(sample: Sample, beside: Beside) -> list[str]:
    return list(dict.fromkeys([*preview.names([sample]), *beside.rows]))


def _cells(sample: Sample, beside: Beside) -> list[Cell]:
    """RGB, and then for each field, as many in each row, the sample's own where it has any field, and those beside."""
    width, cells = max(map(len, beside.rows.values()), default=0), [Cell("rgb", sample.rgb)]
    for name in _rows(sample, beside):
        row = beside.rows.get(name, [])
        if name in sample.values:
            cells.append(Cell(view.TITLES.get(name, name), preview.picture(sample, name)))
        elif sample.values:
            cells.append(Cell())
        cells += [*row, *[Cell()] * (width - len(row))]
    return cells
