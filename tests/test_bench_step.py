"""The parts of a step: read without changing it, with a count of operations that a slow one agrees with."""

from pathlib import Path

import pytest
import torch
from torch import nn

from david.bench.peers import plain_trainer, raw_loader
from david.bench.suites import parts
from david.bench.suites.training import make_step, one_batch
from david.model import build
from david.pipeline.batch import Batch
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import override

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(
    recipes.recipe("smoke"),
    [
        *("data.height=48", "data.width=32", "model.backbone_size=32", "model.width=16", "model.head_widths=8,8"),
        *("model.reassemble=8,8,8,8", "batch_size=4", "parallel=ddp"),
    ],
)


@pytest.fixture(scope="module")
def batch(shards: Path) -> Batch:
    return one_batch(TINY, shards, ALONE)


def test_the_parts_are_those_of_the_step_and_reading_them_changes_nothing(batch: Batch):
    step, other = make_step(TINY, ALONE), make_step(TINY, ALONE)
    found = parts.parts(step, batch, 3, ALONE, rate=1e6)
    for number in (1, 2, 1, 2, 3):  # the warm-up, and what was measured
        outcome = other(batch, number)
    assert all(a.equal(b) for a, b in zip(step.parameters, other.parameters, strict=True))
    assert set(found) == {*parts.PARTS, *step.task.terms, "arithmetic", "of the matrix rate"}
    assert all(value > 0 for value, _ in found.values())
    assert outcome.norm.isfinite() and step(batch, 4).losses.equal(other(batch, 4).losses)
    clock = parts.Clock(ALONE.device)
    with parts.watched(step, clock) as between:
        step(batch, 5, between)
    assert [name for name, _ in clock.readings] == ["begin", *parts.PARTS]
    step(batch, 6)
    assert len(clock.readings) == 6  # nothing reads it any more


def test_the_count_of_operations_is_that_of_the_layers_by_hand(batch: Batch):
    """Multiplications and additions of each convolution, linear layer and attention, thrice with the backward; matrix
    products that are no layer's add some."""
    count = 0

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal count
        if isinstance(module, nn.Linear):
            count += 2 * output.numel() * module.in_features
        elif isinstance(module, nn.ConvTranspose2d):
            count += 2 * inputs[0].numel() * module.out_channels * module.kernel_size[0] * module.kernel_size[1]
        elif isinstance(module, nn.Conv2d):
            count += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        elif type(module).__name__ == "Attention":
            tokens, channels = inputs[0].shape[1:]
            count += 2 * 2 * tokens * tokens * channels

    network = build(TINY.model)
    for module in network.modules():
        module.register_forward_hook(add)
    network(batch.image[:1])
    total = parts.flops(TINY.model, batch)
    assert 2.9 * count < total < 3.3 * count


def test_the_plain_trainer_sees_the_same_samples_at_the_same_size(raw: Path, tmp_path: Path):
    raw_loader.prepare(raw, 8, tmp_path)
    files = plain_trainer.Resized(tmp_path, (48, 32))
    assert len(files) == 8
    sample = files[3]
    assert sample["image"].shape == (3, 48, 32) and sample["image"].min() >= 0 and sample["image"].max() <= 1
    valid = sample["valid"].bool()
    assert valid.shape == sample["depth"].shape == sample["alpha"].shape == (48, 32) and 0 < valid.float().mean() < 1
    assert (sample["normals"].norm(dim=0)[valid] - 1).abs().max() < 0.01 and not sample["normals"][:, ~valid].any()
    assert sample["depth"][valid].abs().max() <= 1 and not sample["depth"][~valid].any()
    found = plain_trainer.train(tmp_path, TINY, ALONE.device, workers=0, steps=2)
    assert found["rate"][0] > 0 and 0 < found["waited"][0] < 1
