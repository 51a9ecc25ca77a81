"""What a run trained on, made again from its recipe, seed and shards.

Nothing of a batch is stored: order and draws depend on seed and step alone. The ledger's hashes, written while the run
trained, say whether what is made again is what was seen.

B images, H rows, W columns.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from safetensors.torch import save

from david.pack import manifest, preview
from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pack.manifest import Manifest
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import ledger, run
from david.train.journal import read
from david.train.recipe import Recipe


@dataclass(frozen=True)
class Replayed:
    """picture, tensors: files; epoch, samples: of the step; recorded: whether the ledger has the step, and agrees"""

    picture: Path
    tensors: Path
    epoch: int
    samples: int
    recorded: bool


def replay(folder: Path, shards: Path, step: int, out: Path) -> Replayed:
    """Make the augmented batch of an optimiser step, counted from 1, as a sheet of pictures and as tensors in `out`.

    Raises DavidError where the ledger says that the step was trained on other samples."""
    recipe, _ = of(folder, shards)
    with Loader(shards, "train", recipe.data, batch_size=recipe.batch_size, seed=recipe.seed, start=step - 1) as loader:
        batch = next(loader)
    made = ledger.entry(step, batch.ids.numpy(), batch.epochs.numpy(), batch.real.numpy())
    seen = {line["step"]: line for line in read(folder / "ledger.jsonl")}.get(step)
    if seen is not None and seen != made:
        raise DavidError(f"{folder / 'ledger.jsonl'}: step {step} was trained on other samples: {seen}, not {made}")
    picture, tensors = (out / f"step-{step:08d}{suffix}" for suffix in (".png", ".safetensors"))
    preview.write_png(picture, sheet(batch))
    named = {one.name: getattr(batch, one.name).contiguous() for one in fields(batch)}
    write_whole(tensors, save(named, {"step": str(step), "sha256": made["sha256"]}))
    return Replayed(picture, tensors, made["epoch"], made["samples"], seen is not None)


@dataclass(frozen=True)
class Verified:
    """steps: in the ledger; epochs: whole ones; samples: of the split; covered: those that each epoch trains on; begun:
    samples seen in the epoch that is not over"""

    steps: int
    epochs: int
    samples: int
    covered: int
    begun: int

    @property
    def dropped(self) -> bool:
        return self.covered < self.samples


def verify(folder: Path, shards: Path) -> Verified:
    """Hold the ledger against the order, line by line, and the order against the samples.

    Raises DavidError naming the first step that is missing, told twice or trained on other samples."""
    recipe, dataset = of(folder, shards)
    counts = [shard.samples for shard in dataset.split("train")]
    order = recipe.data.order([counts], recipe.batch_size, recipe.seed)
    path, steps = folder / "ledger.jsonl", 0
    times, covered = np.zeros(order.samples, np.int64), order.samples
    for steps, seen in enumerate(read(path), 1):
        places = order.batch(steps - 1)
        expected = ledger.entry(steps, *places)
        if seen != expected:
            raise DavidError(
                f"{path}: line {steps} says {seen}; the run's recipe and shards give {expected}: steps were lost, "
                "repeated or trained on other samples"
            )
        np.add.at(times, places.ids[places.real], 1)
        if steps % order.batches_per_epoch == 0:
            covered = int(times.sum())
            if times.max() > 1 or (covered < order.samples and recipe.data.last_batch == "pad"):
                raise DavidError(
                    f"{path}: epoch {steps // order.batches_per_epoch - 1} has samples twice or not at all"
                )
            times[:] = 0
    if not steps:
        raise DavidError(f"{path}: no steps there; give the folder of a run that has trained")
    if times.max() > 1:
        raise DavidError(f"{path}: the last epoch has samples twice")
    return Verified(steps, steps // order.batches_per_epoch, order.samples, covered, int(times.sum()))


def of(folder: Path, shards: Path) -> tuple[Recipe, Manifest]:
    """The recipe of the run in a folder and the shard set, which must be the run's own. Raises DavidError else."""
    found = run.stored(folder) if folder.is_dir() else None
    if found is None:
        raise DavidError(f"{folder}: no run there; give the folder that `david train` made")
    dataset = manifest.load(shards)
    run.compare(folder, *found, found[0], dataset.fingerprint)
    return found[0], dataset


def sheet(batch: Batch) -> np.ndarray:
    """A `Batch` on the CPU as a picture: a row for each sample with RGB, depth, normals and alpha."""
    rows = []
    for slot in range(len(batch)):
        valid = batch.valid[slot, 0].numpy()
        image, normals = (field[slot].permute(1, 2, 0).float().numpy() for field in (batch.image, batch.normals))
        rows.append(
            [
                cv2.convertScaleAbs(image),
                preview.colour_depth(batch.depth[slot, 0].float().numpy(), valid),
                preview.colour_normals(normals, valid),
                preview.colour_alpha(batch.alpha[slot, 0].numpy()),
            ]
        )
    captions = [
        [f"sample {sample}", f"epoch {epoch}", "" if real else "a copy that fills up"]
        for sample, epoch, real in zip(batch.ids.tolist(), batch.epochs.tolist(), batch.real.tolist(), strict=True)
    ]
    return preview.sheet(rows, ["rgb", "depth", "normals", "alpha"], captions)
