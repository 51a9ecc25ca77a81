"""One optimiser step: what counts, what is skipped, and that threads and paddings change nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batches import retarget
from smallest import SMALLEST
from torch import nn

from david.model import build
from david.pipeline.batch import Batch
from david.pipeline.loader import Loader
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import Recipe, override
from david.train.step.step import Step

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(
    recipes.recipe("smoke"),
    [
        *SMALLEST,
        "batch_size=4",
    ],
)
both = pytest.mark.parametrize("recipe", [TINY, override(TINY, ["parallel=ddp"])], ids=["exact", "ddp"])


@pytest.fixture(scope="module")
def shards(figures: Path) -> Path:
    return figures


@pytest.fixture(scope="module")
def batch(shards: Path) -> Batch:
    with Loader(shards, "train", TINY.data, batch_size=4, seed=0) as loader:
        return next(loader)


def made(recipe: Recipe) -> tuple[nn.Module, Step]:
    torch.manual_seed(0)
    network = build(recipe.model).to(memory_format=torch.channels_last)
    return network, Step(network, recipe, ALONE)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()]).clone()


@both
def test_copies_that_fill_up_a_batch_do_not_count(recipe: Recipe, batch: Batch):
    padded = replace(batch, real=torch.tensor([True, True, True, False]))
    _, step = made(recipe)
    _, other_step = made(recipe)
    outcome, expected = step(padded, 5), other_step(batch.slice(0, 3), 5)
    assert torch.allclose(outcome.losses, expected.losses, rtol=1e-6)
    assert outcome.norm.item() == pytest.approx(expected.norm.item(), rel=1e-5)
    assert step.task.terms == other_step.task.terms and len(step.task.terms) == 7


@both
def test_a_gradient_that_is_not_finite_changes_nothing_and_the_next_step_goes_on(recipe: Recipe, batch: Batch):
    network, step = made(recipe)
    step(batch, 1)
    before, moments = weights(network), step.optimiser.state_dict()["state"]
    kept = {index: {name: value.clone() for name, value in state.items()} for index, state in moments.items()}
    outcome = step(retarget(batch, "normals", torch.full_like(batch.targets["normals"].value, torch.inf)), 2)
    assert not outcome.norm.isfinite()
    assert torch.equal(weights(network), before)
    for index, state in step.optimiser.state_dict()["state"].items():
        assert all(torch.equal(value, kept[index][name]) for name, value in state.items())
    assert step(batch, 3).norm.isfinite() and not torch.equal(weights(network), before)


def test_the_exact_sum_is_the_same_on_any_number_of_threads(batch: Batch):
    def trained(threads: int) -> torch.Tensor:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            network, step = made(TINY)
            for number in range(1, 5):
                step(batch, number)
            return weights(network)
        finally:
            torch.set_num_threads(before)

    assert torch.equal(trained(1), trained(3))


def test_the_two_summations_agree(batch: Batch):
    gradients = []
    for recipe in (TINY, override(TINY, ["parallel=ddp"]), override(TINY, ["parallel=ddp", "micro_batch=3"])):
        network, step = made(recipe)
        step.gradients(batch, batch.real.sum(), torch.ones(()))
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_no_buffer_changes_in_a_step(batch: Batch):
    """DDP sends none round: each rank makes its own."""
    _, step = made(override(TINY, ["parallel=ddp", "objective.uncertainty=true"]))
    learner = step.gradients.learner
    before = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    # mean and std; the weights of the terms, their heads, and the first of each; of each head the shares of its phases
    assert len(before) == 5 + 3
    for number in (1, 2):
        step(batch, number)
    assert all(torch.equal(buffer, before[name]) for name, buffer in learner.named_buffers())


def test_every_parameter_learns(batch: Batch):
    network, step = made(TINY)
    step.gradients(batch, batch.real.sum(), torch.ones(()))
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
