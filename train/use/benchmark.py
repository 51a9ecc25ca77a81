"""`david eval --benchmark`: what the command line says to tables and files, wrong names and roots told first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from david.pack import tables
from david.pack.errors import shown
from david.pack.files import require_place
from david.pack.options import aside
from david.pack.progress import progress_bar
from david.train.eval.protocols import table
from david.train.eval.protocols.truth import found
from david.train.use.load import Found


def evaluate(
    benchmark: str,
    root: Path,
    places: Sequence[Found],
    told: dict[str, Any],
    accept: Sequence[str],
    out: Path,
    worst: int,
    device: str,
    precision: str | None,
    as_json: bool,
) -> None:
    """Measure what `places` lead to on a benchmark whose files lie in `root`; tables on the screen, files in `out`.

    told, accept: see `truth.found`; worst: rows of each sheet; precision: of our own networks, by default as each was
    trained. Raises DavidError where something is not there or can't be measured."""
    truth = found(table.named(benchmark), root, told, accept)
    require_place(out)

    from rich.console import Console

    from david.train.eval.protocols import report  # torch: seconds, that no refusal waits for
    from david.train.eval.protocols.benchmark import measure, unlike
    from david.train.use.load import loaded

    console = Console(stderr=as_json)
    with aside(as_json):
        subjects, about = [], []
        for place in places:
            own = precision or (place.subject.precision if place.subject else "auto")
            subjects.append(loaded([place], device, own))
            source = place.subject.source if place.subject else place.onnx or place.hub
            about.append({"source": str(source), "fit": subjects[-1].fit, "side": subjects[-1].side})
        with progress_bar(console, "measuring", "images") as watch:
            result = measure(benchmark, truth, subjects, worst, watch)
        report.write(result, out, dict(zip(unlike([one.name for one in subjects]), about, strict=True)))
    for made in report.drawn(result):
        tables.show(console, made)
    for sentence in report.notes(result):
        console.print(shown(sentence), soft_wrap=True, highlight=False, markup=False)
    console.print(f"{out}", soft_wrap=True, highlight=False, markup=False)
    if as_json:
        print((out / report.BENCHMARK_JSON).read_text(), end="")
