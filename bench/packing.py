"""`david bench pack`: david, its floor and the plain way, in turns; a table, the ratios and a row."""

from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench import raw as raw_samples
from david.bench import report, rows
from david.bench.harness import take_turns
from david.bench.suites import pack
from david.pack import machine


def measure(
    raw: Path, samples: int, rounds: int, workers: int | None, lossless: bool, console: Console
) -> dict[str, Any]:
    """Measure packing `samples` samples of `raw` and print what came out. Returns the row."""
    workers = workers or machine.cores()
    data = raw_samples.about(raw, samples)
    contenders = {
        f"david, {workers} workers": lambda: pack.david(raw, samples, workers, lossless),
        "david, 1 worker": lambda: pack.david(raw, samples, 1, lossless),
        f"floor, {workers} processes": lambda: pack.in_processes(pack.floor, raw, samples, workers, lossless),
        "plain, 1 process": lambda: pack.in_processes(pack.plain, raw, samples, 1, lossless),
    }
    with console.status("measuring") as status:
        figures = take_turns(contenders, rounds, told=status.update)
    console.print(report.table(f"packing {raw_samples.told(data, samples)}", figures))
    all_cores, one, floor, plain = (figures[name]["rate"].median for name in contenders)
    ratios = {"of_floor": all_cores / floor, "over_plain": all_cores / plain, "over_one_worker": all_cores / one}
    console.print(
        f"{ratios['of_floor']:.2f} of the floor, {ratios['over_plain']:.1f} times the plain way, "
        f"{ratios['over_one_worker']:.2f} times one worker"
    )
    measured = {name: {quantity: f.as_json() for quantity, f in found.items()} for name, found in figures.items()}
    return rows.row("pack", measured, ratios=ratios, data=data, samples=samples, rounds=rounds, lossless=lossless)
