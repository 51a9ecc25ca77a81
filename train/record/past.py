"""What a run trained on, made again from its recipe, seed and shards.

Nothing of a batch is stored: order and draws depend on seed and step alone. The ledger's hashes, written while the run
trained, say whether what is made again is what was seen.

B images, H rows, W columns.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save

from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pack.look import preview
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.pipeline.reading import sets
from david.pipeline.reading.sets import Shards, ShardSets
from david.train import ledger, run
from david.train.journal import read
from david.train.recipe import Recipe
from david.train.record.walk import Walk, walks_of


@dataclass(frozen=True)
class Replayed:
    """picture, tensors: files; epoch, samples: of the step; recorded: whether the ledger has the step, and agrees"""

    picture: Path
    tensors: Path
    epoch: int
    samples: int
    recorded: bool


def replay(folder: Path, shards: Shards, step: int, out: Path) -> Replayed:
    """Make the augmented batch of an optimiser step, counted from 1, as a sheet of pictures and as tensors in `out`.

    Raises DavidError where the ledger says that the step was trained on other samples."""
    recipe, _ = of(folder, shards)
    data = replace(recipe.data, decode="cpu")  # of a batch that DALI decoded, but for an image's rounding
    with Loader(shards, "train", data, batch_size=recipe.batch_size, seed=recipe.seed, start=step - 1) as loader:
        batch = next(loader)
    made = ledger.entry(step, batch.ids.numpy(), batch.epochs.numpy(), batch.real.numpy())
    seen = {line["step"]: line for line in read(folder / "ledger.jsonl")}.get(step)
    if seen is not None and seen != made:
        raise DavidError(f"{folder / 'ledger.jsonl'}: step {step} was trained on other samples: {seen}, not {made}")
    picture, tensors = (out / f"step-{step:08d}{suffix}" for suffix in (".png", ".safetensors"))
    preview.write_png(picture, sheet(batch))
    named = {name: one.contiguous() for name, one in batch.tensors().items()}
    write_whole(tensors, save(named, {"step": str(step), "sha256": made["sha256"]}))
    return Replayed(picture, tensors, made["epoch"], made["samples"], seen is not None)


@dataclass(frozen=True)
class Verified:
    """steps: in the ledger; walks: what was seen of each set of a mixture by weights, else of all samples together"""

    steps: int
    walks: tuple[Walk, ...]


def verify(folder: Path, shards: Shards) -> Verified:
    """Hold the ledger against the order, line by line, and the order against the samples.

    Raises DavidError naming the first step that is missing, told twice or trained on other samples."""
    recipe, dataset = of(folder, shards)
    order = recipe.data.order(dataset.counts("train"), recipe.batch_size, recipe.seed)
    path, steps, walks = folder / "ledger.jsonl", 0, walks_of(order)
    for steps, seen in enumerate(read(path), 1):
        places = order.batch(steps - 1)
        expected = ledger.entry(steps, *places)
        if seen != expected:
            raise DavidError(
                f"{path}: line {steps} says {seen}; the run's recipe and shards give {expected}: steps were lost, "
                "repeated or trained on other samples"
            )
        for walk in walks:
            if not walk.take(places):
                raise DavidError(f"{path}: step {steps} has samples that its epoch had already")
    if not steps:
        raise DavidError(f"{path}: no steps there; give the folder of a run that has trained")
    return Verified(steps, walks)


def of(folder: Path, shards: Shards) -> tuple[Recipe, ShardSets]:
    """The recipe of the run in a folder and the shards, which must be the run's own. Raises DavidError else."""
    found, dataset = run.trained(folder), sets.load(shards)
    run.compare(folder, found.recipe, found.shards, found.recipe, dataset.fingerprint)
    return found.recipe, dataset


def sheet(batch: Batch) -> np.ndarray:
    """A `Batch` on the CPU as a picture: a row for each sample with RGB and each target that `SHOWN` knows."""
    names, rows = [name for name in SHOWN if name in batch.targets], []
    for slot in range(len(batch)):
        rows.append([cv2.convertScaleAbs(pixels(batch.image[slot]))])
        for name in names:
            target = batch.targets[name]
            rows[-1].append(SHOWN[name](pixels(target.value[slot]), target.valid[slot, 0].numpy()))
    captions = [
        [f"sample {sample}", f"epoch {epoch}", "" if real else "a copy that fills up"]
        for sample, epoch, real in zip(batch.ids.tolist(), batch.epochs.tolist(), batch.real.tolist(), strict=True)
    ]
    return preview.sheet(rows, ["rgb", *names], captions)


SHOWN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {  # from (H, W, C) and its mask (H, W)
    "depth": lambda depth, valid: preview.colour_depth(depth[..., 0], valid),
    "normals": preview.colour_normals,
    "alpha": lambda alpha, valid: preview.colour_alpha(alpha[..., 0].astype(np.uint8)),
    "teacher_depth": lambda nearness, valid: preview.colour_depth(-nearness[..., 0], valid),
}


def pixels(values: torch.Tensor) -> np.ndarray:
    """(C, H, W) to (H, W, C) float32."""
    return values.permute(1, 2, 0).float().numpy()
