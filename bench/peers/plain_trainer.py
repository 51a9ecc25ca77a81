"""A trainer as it is usually written, the unofficial implementation's habits: the same network, losses and batch.

Raw PNG and EXR files through PyTorch's DataLoader, resized on the host; images as float32 in rows, fp16 autocast with
a GradScaler on GPUs; AdamW as PyTorch gives it, nothing compiled or fused by hand; every loss fetched with `.item()` in
every step.
"""

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from david.bench.harness import WARM_UP, Measured, finish
from david.bench.peers import endless, raw_loader
from david.model import build
from david.pipeline.batch import Batch, Target
from david.train.losses.table import TERMS
from david.train.recipe import Recipe
from david.train.tasks.supervised import compare
from david.train.tasks.table import task_of


class Resized(raw_loader.Files):
    """Raw samples at the recipe's size."""

    def __init__(self, folder: Path, size: tuple[int, int] | None):
        super().__init__(folder)
        self.size = size

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        fields = super().__getitem__(number)
        if self.size:
            fields = {name: torch.from_numpy(self.resize(name, field.numpy())) for name, field in fields.items()}
        return fields | {"image": fields["image"].permute(2, 0, 1).float() / 255}

    def resize(self, name: str, field: np.ndarray) -> np.ndarray:
        assert self.size
        soft, moved = name in ("image", "alpha"), name == "normals"
        pixels = np.moveaxis(field, 0, -1).astype(np.float32) if moved else field
        pixels = pixels.astype(np.float32) if name == "depth" else pixels
        pixels = pixels.astype(np.uint8) if name == "valid" else pixels
        how = cv2.INTER_LINEAR if soft else cv2.INTER_NEAREST
        pixels = cv2.resize(np.ascontiguousarray(pixels), self.size[::-1], interpolation=how)
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if moved else pixels)


def train(folder: Path, recipe: Recipe, device: torch.device, workers: int, steps: int) -> Measured:
    """Samples/s of `steps` steps on raw files in `folder` (as `raw_loader.prepare` leaves them), behind a warm-up, and
    the share of the time that the loop waited for its loader."""
    data = recipe.data
    size = (data.height, data.width) if data.height and data.width else None
    loader = DataLoader(
        Resized(folder, size),
        recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )
    torch.manual_seed(recipe.seed)
    network, task = build(recipe.model).to(device), task_of(recipe.objective, recipe.model)
    terms, weights = [TERMS[name] for name in task.terms], task.weights
    backbone = [p for name, p in network.named_parameters() if name.startswith("backbone.")]
    others = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    rate = recipe.optim.rate
    optimiser = torch.optim.AdamW(
        [{"params": backbone, "lr": rate * recipe.optim.backbone_scale}, {"params": others}], rate
    )
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    batches, waited_s, begin = endless(loader), 0.0, 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            finish(device)
            waited_s, begin = 0.0, time.perf_counter()
        asked = time.perf_counter()
        fields = next(batches)
        waited_s += time.perf_counter() - asked
        batch = to_batch(fields, device)
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
            prediction = network(batch.image)
        losses = compare(prediction, batch, terms).mean(1)
        loss = sum((weight * value for weight, value in zip(weights, losses, strict=True)), start=losses.new_zeros(()))
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.optim.clip)
        scaler.step(optimiser)
        scaler.update()
        _ = [value.item() for value in (loss, *losses)]
    finish(device)
    elapsed_s = time.perf_counter() - begin
    return {
        "rate": (steps * recipe.batch_size / elapsed_s, "samples/s"),
        "waited": (waited_s / elapsed_s, "share"),
    }


def to_batch(fields: dict[str, torch.Tensor], device: torch.device) -> Batch:
    """Collated samples on the device; what the losses do not look at is left empty."""
    image, alpha, depth, valid, normals = (
        fields[name].to(device) for name in ("image", "alpha", "depth", "valid", "normals")
    )
    count, valid = len(image), valid[:, None].bool()
    nothing = torch.zeros(count, device=device)
    return Batch(
        image=image,
        targets={
            "alpha": Target(alpha[:, None], torch.ones_like(valid)),
            "depth": Target(depth[:, None], valid),
            "normals": Target(normals, valid),
        },
        intrinsics=torch.zeros(count, 3, 3, device=device),
        depth_offset_m=nothing,
        depth_scale_m=nothing,
        ids=torch.arange(count, device=device),
        epochs=torch.zeros(count, dtype=torch.int64, device=device),
        real=torch.ones(count, dtype=torch.bool, device=device),
        sets=torch.zeros(count, dtype=torch.int64, device=device),
    )
