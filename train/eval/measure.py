"""Networks and a split in, everything that `david eval` leaves out: `measure_all` is what each rank runs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.progress import track

from david import __version__
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.reading.reader import Reader
from david.pipeline.reading.sets import Shards
from david.train import distributed
from david.train.distributed import World
from david.train.eval import constant, report
from david.train.eval.answers import Constant
from david.train.eval.evaluate import Scores, score
from david.train.eval.subjects import Measured
from david.train.recipe import Precision
from david.train.step.precision import half_precision


def measure(
    subject: Measured, shards: Shards, split: str, out: Path, batch_size: int, worst: int, device: str
) -> Scores:
    """Measure the subject on every sample of a split, and write what `report.py` makes of it into `out`.

    batch_size: over all ranks; it grows to the next number that they can share
    """
    return measure_all([(subject, out, worst)], shards, split, batch_size, device)[0]


def measure_all(
    subjects: Sequence[tuple[Measured, Path, int]], shards: Shards, split: str, batch_size: int, device: str
) -> list[Scores]:
    """As `measure`, of each in turn. subjects: who, where to, and how many worst cases"""
    with distributed.joined(device) as world:
        return [_measure(*one, shards, split, batch_size, world) for one in subjects]


def _measure(
    subject: Measured, out: Path, worst: int, shards: Shards, split: str, batch_size: int, world: World
) -> Scores:
    if world.leads:
        out.mkdir(parents=True, exist_ok=True)  # where it can't be, that is said before anything is measured
    ours = subject.precision in get_args(Precision)
    network = subject.network().to(world.device)
    half = half_precision(subject.precision, world.device) if ours else None

    def load(batch_size: int, start: int = 0, **ranks: int) -> Loader:
        how = {"batch_size": batch_size, "start": start, **ranks}
        return Loader(shards, split, subject.data, seed=0, train=False, device=world.device, **how)

    if isinstance(network, Constant):
        with load(4) as first:
            network.metres = constant.of_batches(first)
    with load(-(-batch_size // world.size) * world.size, rank=world.rank, world_size=world.size) as loader:
        scores = score(network, shown(loader, world.leads), world, half)
    scores = scores if ours else replace(scores, precision=subject.precision)
    if world.leads:
        reader = Reader(shards, split)
        said = {"source": str(subject.source or subject.name), "precision": scores.precision}
        files = {
            report.METRICS_JSON: report.metrics_json(scores, about(subject, shards, split) | said),
            "samples.csv": report.samples_csv(scores, reader),
        }
        sheets = report.worst_cases(network, scores, reader, lambda sample: load(1, sample), worst, half)
        report.write(out, files | sheets)
        reader.close()
    return scores


def about(subject: Measured, shards: Shards, split: str) -> dict[str, Any]:
    """What was measured on, as JSON."""
    return {
        **{"david": __version__, "split": split, "shards": sets.load(shards).fingerprint},
        **{"height": subject.data.height, "width": subject.data.width},
    }


def shown(loader: Loader, speaks: bool) -> Iterable:
    """The loader's batches, with a bar on a terminal."""
    console = Console(stderr=True, quiet=not speaks)
    silent = not console.is_terminal
    return track(loader, "measuring", loader.batches_per_epoch, console=console, disable=silent, transient=True)
