"""What reading labels beside their set costs a loader, in CPU time, in turns: `python tests/cost_labels.py WORK` adds a
row to bench/results/labels-cpu.jsonl. On a quiet machine `david bench load --shards SHARDS+SIDECAR` tells rates.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from learn_rooms import command
from rich.console import Console

from david.bench import rows
from david.bench.harness import WARM_UP, Figure, Measured, take_turns
from david.bench.result import Result
from david.model import build, weights
from david.model.config import configure
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader

ROWS = Path(__file__).resolve().parent.parent / "bench" / "results" / "labels-cpu.jsonl"
SAMPLES, BATCH, BATCHES, ROUNDS, SIDE = 24, 8, 12, 9, 384
NAMES = ("alone", "with labels")


def draw(work: Path) -> tuple[Path, Path]:
    """Drawn people, packed, and what an untrained network says of them."""
    shards, teacher, sidecar = work / "shards", work / "teacher.safetensors", work / "sidecar"
    torch.manual_seed(0)
    weights.save(build(configure("da2-smoke")), teacher)
    command("synth", work / "raw", "--samples", SAMPLES)
    command("pack", work / "raw", shards, "--workers", 1, "--no-progress", "--val-fraction", 0)
    how = ("--teacher", teacher, "--out", sidecar, "--device", "cpu", "--size", 112, "--no-progress")
    command("label", shards, *how)
    return shards, sidecar


def loading(shards: str) -> Callable[[], Measured]:
    """A contender: the CPU time of a sample, of all threads."""

    def measure() -> Measured:
        with Loader(
            shards, "train", DataConfig(height=SIDE, width=SIDE, threads=1), batch_size=BATCH, seed=0
        ) as loader:
            for _ in range(WARM_UP):
                next(loader)
            begun = time.process_time()
            for _ in range(BATCHES):
                next(loader)
            return {"cpu_ms": (1e3 * (time.process_time() - begun) / (BATCHES * BATCH), "ms")}

    return measure


def sentence(figures: dict[str, dict[str, Figure]]) -> str:
    """What docs/labels.md says of a row."""
    alone, joined = (figures[name]["cpu_ms"].median for name in NAMES)
    return f"A sample of {SIDE} x {SIDE} pixels takes {alone:.2f} ms of CPU time to load, with its labels {joined:.2f}"


def main(work: Path) -> None:
    torch.set_num_threads(1)
    shards, sidecar = draw(work)
    contenders = dict(zip(NAMES, map(loading, (str(shards), f"{shards}+{sidecar}")), strict=True))
    figures = take_turns(contenders, ROUNDS)
    about = {"rounds": ROUNDS, "batch_size": BATCH, "batches": BATCHES, "threads": 1, "samples": SAMPLES}
    data = {"folder": "people drawn by david synth", "height": SIDE, "width": SIDE}
    result = Result.of("labels", "loading", figures, verdict=sentence(figures), about=about | {"data": data})
    rows.append(ROWS, result.row())
    result.show(Console())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
