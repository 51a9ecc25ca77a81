"""Does `david bench tune` recover what a bad recipe lost: one thread and one batch ahead, on storage that is slow.

    PYTHONPATH=tests python tests/soak/tune.py [MINUTES [ROWS]]

Each sample takes 0.2 s more to read, as from a far disk, without work for the processor: what one thread loses is then
the same on any machine, and more threads than cores are needed. Every candidate is measured as well; at least 90 % of
the best has to be recovered within the time, and the row goes to ROWS. Five minutes, and five for all candidates.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from smallest import SMALLEST

from david.bench import rows
from david.bench.tune import suite
from david.pack import synth
from david.pack.work import build, plan
from david.pipeline.reading.reader import Reader
from david.train import recipes
from david.train.recipe import override

READ_S, SAMPLES, LEAST = 0.2, 60, 0.9
BAD = ("data.threads=1", "data.prefetch=1")


def main() -> int:
    torch.set_num_threads(1)  # threads of a step wait for each other, for long where others use the cores too
    minutes, kept = float((sys.argv[1:2] or ["5"])[0]), sys.argv[2:3]
    recipe = override(recipes.recipe("smoke"), [*SMALLEST, *BAD, "parallel=ddp", "batch_size=4", "model.heads=alpha"])
    read = Reader.read

    def slowly(*args, **how):
        time.sleep(READ_S)
        return read(*args, **how)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Reader, "read", slowly):
        raw, shards = Path(folder, "raw"), Path(folder, "drawn")
        synth.write(raw, samples=SAMPLES, zips=2, seed=0)
        build.build(raw, shards, plan.PackOptions(val_fraction=0))
        result = suite.measure(recipe, shards, Path(folder, "tuned.json"), minutes, "cpu", every=True)
    row: dict[str, Any] = result.row() | {"slowed": {"read_ms": 1000 * READ_S}}
    if kept:
        rows.append(Path(kept[0]), row)
    found = row["found"]["train"]
    print(*result.notes, result.verdict, f"{found['took_s']} s", sep="\n")
    assert found["recovered"] >= LEAST, f"only {found['recovered']:.1%} of the best is recovered"
    assert found["took_s"] <= 60 * minutes + 15, f"it took {found['took_s']} s"
    return 0


if __name__ == "__main__":
    sys.exit(main())
