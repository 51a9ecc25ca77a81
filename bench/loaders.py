"""`david bench load --peers`: david's loader, other loaders and the floor, in turns; a table, the ratios and a row."""

from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench import raw as raw_samples
from david.bench import report, rows
from david.bench.suites import peers
from david.pack import machine

BATCH_SIZE = 16


def measure(raw: Path, samples: int, batches: int, rounds: int, console: Console) -> dict[str, Any]:
    """Compare on the first `samples` samples of `raw`, over and over where it holds fewer, and print what came out.
    Returns the row."""
    data = raw_samples.about(raw, samples)
    workers = machine.cores()
    with console.status("measuring") as status:
        figures, failed = peers.measure(raw, samples, BATCH_SIZE, workers, batches, rounds, told=status.update)
    missing = peers.installed()[1]
    title = f"batches of {BATCH_SIZE}, {workers} workers each, mirrored at random; {raw_samples.told(data, samples)}"
    console.print(report.table(title, figures))
    for name, package in missing.items():
        console.print(f"{name}: not measured, since {package} is not installed (pip install david-train\\[peers])")
    for name, error in failed.items():
        console.print(f"{name}: failed: {error}", markup=False)
    rates = {name: found["rate"].median for name, found in figures.items()}
    ratios = {name: rates["david"] / rate for name, rate in rates.items() if name != "david"}
    told = [
        f"{ratio:.2f} times {name}" if name != "floor" else f"{ratio:.2f} of the floor"
        for name, ratio in ratios.items()
    ]
    console.print(f"david: {', '.join(told)}", soft_wrap=True)
    measured = {name: {quantity: one.as_json() for quantity, one in found.items()} for name, found in figures.items()}
    about = {
        "data": data,
        "samples": samples,
        "batch_size": BATCH_SIZE,
        "workers": workers,
        "batches": batches,
        "rounds": rounds,
    }
    return rows.row("loaders", measured, ratios=ratios, missing=missing, failed=failed, **about)
