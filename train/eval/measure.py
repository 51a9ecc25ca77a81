"""A network and a split in, everything that `david eval` leaves out: `measure` is what each rank runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file

from david import __version__
from david.model import Network, weights
from david.model.config import ModelConfig
from david.pack import manifest
from david.pack.errors import DavidError
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.reader import Reader
from david.train import checkpoint, distributed, run
from david.train.eval import report
from david.train.eval.best import best_step
from david.train.eval.evaluate import Scores, score
from david.train.precision import half_precision


@dataclass(frozen=True)
class Subject:
    """What is measured. name: for people; folder: where its evaluations go; source: the file of its weights; model:
    what they are the weights of, None where the file says so itself; data: how images reach it; precision: what it
    computes in, as recipes name it"""

    name: str
    folder: Path
    source: Path
    model: ModelConfig | None
    data: DataConfig
    precision: str = "auto"

    def network(self) -> Network:
        if self.model is None:
            return weights.load(self.source)
        network = Network(self.model)
        network.load_state_dict(load_file(self.source))
        return network.eval()


def of_file(path: Path, data: DataConfig) -> Subject:
    """A file of weights that says what it is the weights of."""
    return Subject(path.name, path.with_suffix(""), path, None, data)


def of_run(folder: Path, which: str) -> Subject:
    """A checkpoint of a run: `newest`, `best`, or a step. Raises DavidError where it is not there or not whole."""
    found = run.stored(folder) if folder.is_dir() else None
    if found is None:
        raise DavidError(f"{folder}: no run there; give the folder that `david train` made")
    recipe, checkpoints = found[0], folder / "checkpoints"
    if which == "newest":
        step, _ = checkpoint.newest_whole(checkpoints)
    elif which == "best":
        step = best_step(folder / "metrics.jsonl", recipe.best) if recipe.best else None
        if step is None:
            raise DavidError(
                f"{folder}: no best checkpoint (the recipe's best is {recipe.best}); train with --set best="
            )
    elif which.isdecimal():
        step = int(which)
    else:
        raise DavidError(f"--checkpoint {which}: give a step, `newest` or `best`")
    path = checkpoint.path_of(checkpoints, step)
    there = ", ".join(map(str, checkpoint.steps(checkpoints))) or "none"
    if not path.is_dir():
        raise DavidError(f"{folder}: no checkpoint of step {step}; there are {there}")
    if fault := checkpoint.damage(path):
        raise DavidError(f"{path}: damaged ({fault}); there are {there}")
    source = checkpoint.weights_of(path)
    return Subject(f"{recipe.name} after step {step}", folder, source, recipe.model, recipe.data, recipe.precision)


def measure(subject: Subject, shards: Path, split: str, out: Path, batch_size: int, worst: int, device: str) -> Scores:
    """Measure the subject on every sample of a split, and write what `report.py` makes of it into `out`.

    batch_size: over all ranks; it grows to the next number that they can share
    """
    with distributed.joined(device) as world:
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
                **{"shards": manifest.load(shards).fingerprint},
                **{"height": subject.data.height, "width": subject.data.width, "precision": scores.precision},
            }
            files = {
                "metrics.json": report.metrics_json(scores, about),
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
