"""What a benchmark leaves: tables for the screen, benchmark.json, images.csv, and sheets of the worst pictures."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from david import __version__
from david.pack import tables
from david.pack.files import write_whole
from david.train.eval.protocols.benchmark import Result
from david.train.eval.protocols.figures import HOW, TARGETS, Figure
from david.train.eval.protocols.published import PUBLISHED
from david.train.eval.protocols.table import BENCHMARKS

BENCHMARK_JSON, IMAGES_CSV = "benchmark.json", "images.csv"
OVER_IMAGES, OVER_PIXELS, OVER_PAIRS, PUBLISHED_ROW = "images", "pixels", "pairs", "published"


def drawn(result: Result) -> list[Table]:
    """A table for each field: the subjects' means over images and over all pixels, the constant answer's, and what
    others published."""
    return [_table(result, field) for field in result.truth.fields]


def _table(result: Result, field: str) -> Table:
    figures = BENCHMARKS[result.benchmark].figures[field]
    headings = [figure.heading for figure in figures]
    title = f"{TARGETS[field]} on {result.benchmark}, {len(result.keys):,} images"
    table = tables.table("who", "over", *headings, title=title, right=headings)
    for score in result.scores:
        if field in score.fields:
            how = HOW[score.ways[field]] if field == "metric_depth_m" else ""
            who = f"{score.name}, {how}" if how else score.name
            if field != "nearness":
                table.add_row(who, OVER_IMAGES, *_cells(figures, score.means()))
            table.add_row(who, OVER_PAIRS if field == "nearness" else OVER_PIXELS, *_cells(figures, score.pooled()))
    for one in PUBLISHED.get(result.benchmark, ()):
        if any(figure.name in one.figures for figure in figures):
            table.add_row(one.who, PUBLISHED_ROW, *_cells(figures, one.figures, printed=True))
    return table


def _cells(figures: tuple[Figure, ...], values: dict[str, float], printed: bool = False) -> list[str]:
    forms = {one.name: (printed and one.printed) or one.form for one in figures}
    return [form.format(values[name]) if name in values else "" for name, form in forms.items()]


def notes(result: Result) -> list[str]:
    """The sentences below the tables: the benchmark's own, and where the published figures stand."""
    places = dict.fromkeys(one.source for one in PUBLISHED.get(result.benchmark, ()))
    return [*result.notes, *([f"Published: {'; '.join(places)}."] if places else [])]


def benchmark_json(result: Result, about: dict[str, dict[str, Any]]) -> bytes:
    """Everything but the single images. about: of each subject by its name what else is known of it."""
    protocol = BENCHMARKS[result.benchmark]
    figures = [figure for field in result.truth.fields for figure in protocol.figures[field]]
    content = {
        **{"david": __version__, "benchmark": result.benchmark, "root": str(result.truth.root)},
        **{"truth": result.truth.about, "images": len(result.keys), "band": protocol.band},
        "figures": {one.name: {"unit": one.unit, "better": "higher" if one.grows else "lower"} for one in figures},
        "subjects": [
            {
                "name": score.name,
                "says": score.ways,
                **about.get(score.name, {}),
                "over_images": score.means(),
                "over_pixels": score.pooled(),
            }
            for score in result.scores
        ],
        "published": [
            {"name": one.who, "source": one.source, "over_images": one.figures}
            for one in PUBLISHED.get(result.benchmark, ())
        ],
        "notes": result.notes,
    }
    return json.dumps(content, indent=1, allow_nan=False).encode() + b"\n"


def images_csv(result: Result) -> bytes:
    """A line for each image and subject; empty where a subject says no such field."""
    figures = [one for field in result.truth.fields for one in BENCHMARKS[result.benchmark].figures[field]]
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "subject", *(figure.name for figure in figures)])
    for place, key in enumerate(result.keys):
        for score in result.scores:
            values = [score.values[one.name][place] if one.name in score.values else None for one in figures]
            there = (None if value is None or value != value else value for value in values)
            lines.writerow([key, score.name, *("" if value is None else f"{value:.7g}" for value in there)])
    return text.getvalue().encode()


def write(result: Result, out: Path, about: dict[str, dict[str, Any]]) -> None:
    """All files into `out`, each whole or absent."""
    out.mkdir(parents=True, exist_ok=True)
    for name, content in result.sheets.items():
        write_whole(out / name, content)
    write_whole(out / IMAGES_CSV, images_csv(result))
    write_whole(out / BENCHMARK_JSON, benchmark_json(result, about))
