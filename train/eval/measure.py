"""A network and a split in, everything that `david eval` leaves out: `measure` is what each rank runs."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from david import __version__
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.reading.reader import Reader
from david.pipeline.reading.sets import Shards
from david.train import distributed
from david.train.eval import report
from david.train.eval.evaluate import Scores, score
from david.train.step.precision import half_precision
from david.train.subject import Subject


def measure(
    subject: Subject, shards: Shards, split: str, out: Path, batch_size: int, worst: int, device: str
) -> Scores:
    """Measure the subject on every sample of a split, and write what `report.py` makes of it into `out`.

    batch_size: over all ranks; it grows to the next number that they can share
    """
    with distributed.joined(device) as world:
        if world.leads:
            out.mkdir(parents=True, exist_ok=True)  # where it can't be, that is said before anything is measured
        network, half = subject.network().to(world.device), half_precision(subject.precision, world.device)

        def load(batch_size: int, start: int = 0, **ranks: int) -> Loader:
            how = {"batch_size": batch_size, "start": start, **ranks}
            return Loader(shards, split, subject.data, seed=0, train=False, device=world.device, **how)

        with load(-(-batch_size // world.size) * world.size, rank=world.rank, world_size=world.size) as loader:
            scores = score(network, shown(loader, world.leads), world, half)
        if world.leads:
            reader = Reader(shards, split)
            about = {
                **{"david": __version__, "source": str(subject.source), "split": split},
                **{"shards": sets.load(shards).fingerprint},
                **{"height": subject.data.height, "width": subject.data.width, "precision": scores.precision},
            }
            files = {
                report.METRICS_JSON: report.metrics_json(scores, about),
                "samples.csv": report.samples_csv(scores, reader),
            }
            sheets = report.worst_cases(network, scores, reader, lambda sample: load(1, sample), worst, half)
            report.write(out, files | sheets)
            reader.close()
        return scores


def shown(loader: Loader, speaks: bool) -> Iterable:
    """The loader's batches, with a bar on a terminal."""
    console = Console(stderr=True, quiet=not speaks)
    silent = not console.is_terminal
    return track(loader, "measuring", loader.batches_per_epoch, console=console, disable=silent, transient=True)
