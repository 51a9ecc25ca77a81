"""`david eval --benchmark`: what the command line says to tables and files, wrong names and roots told first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from david.pack import tables
from david.pack.errors import DavidError, shown
from david.pack.files import require_place
from david.pack.options import aside
from david.pack.progress import progress_bar
from david.train.eval.protocols import table
from david.train.eval.protocols.truth import found
from david.train.eval.subjects import OnnxFile
from david.train.recipe import Precision
from david.train.subject import Subject
from david.train.use.load import Found


def evaluate(
    benchmark: str,
    root: Path,
    subjects: Sequence[Subject | OnnxFile],
    told: dict[str, Any],
    accept: Sequence[str],
    out: Path,
    worst: int,
    device: str,
    precision: str | None,
    as_json: bool,
    flip: bool = False,
) -> None:
    """Measure some networks on a benchmark whose files lie in `root`; tables on the screen, files in `out`.

    told, accept: see `truth.found`; worst: rows of each sheet; precision: of our own networks, by default as each was
    trained; flip: see `protocols.asking.answer`. Raises DavidError where something is not there or can't be measured.
    """
    if precision is not None and not any(isinstance(one, Subject) for one in subjects):
        raise DavidError("--precision: an ONNX file computes as it was exported; leave it out")
    if precision not in (None, *get_args(Precision)):
        raise DavidError(f"--precision {precision}: there are {', '.join(get_args(Precision))}")
    truth = found(table.named(benchmark), root, told, accept)
    require_place(out)

    from rich.console import Console

    from david.train.eval.protocols import report  # torch: seconds, that no refusal waits for
    from david.train.eval.protocols.benchmark import measure, unlike
    from david.train.use.load import loaded

    console = Console(stderr=as_json)
    with aside(as_json):
        predictors, about = [], []
        for one in subjects:
            if isinstance(one, Subject):
                predictors.append(loaded([Found(one.name, subject=one)], device, precision or one.precision))
            else:
                predictors.append(loaded([Found(one.name, onnx=one.source)], device))
            about.append({"source": str(one.source), "fit": predictors[-1].fit, "side": predictors[-1].side})
        with progress_bar(console, "measuring", "images") as watch:
            result = measure(benchmark, truth, predictors, worst, watch, flip, accept)
        report.write(result, out, dict(zip(unlike([one.name for one in predictors]), about, strict=True)))
    for made in report.drawn(result):
        tables.show(console, made)
    for sentence in report.notes(result):
        console.print(shown(sentence), soft_wrap=True, highlight=False, markup=False)
    console.print(f"{out}", soft_wrap=True, highlight=False, markup=False)
    if as_json:
        print((out / report.BENCHMARK_JSON).read_text(), end="")
