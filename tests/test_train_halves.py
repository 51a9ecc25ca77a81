"""Weights in half precision, made all at once: what autocast would have made of each, to the bit."""

from functools import partial
from pathlib import Path

import pytest
import torch
from smallest import SMALLEST

from david.model import build
from david.pipeline.loader import Loader
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import override
from david.train.step.step import Step

TINY = override(recipes.recipe("smoke"), [*SMALLEST, "batch_size=2", "precision=bf16", "parallel=ddp"])
SETTINGS = {
    "plain": [],
    "recomputed": ["recompute=true"],
    "frozen": ["optim.frozen_backbone=true"],
    "compiled": ["compile=default"],
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_weights_cast_at_once_give_the_bits_of_those_that_autocast_casts(
    figures: Path, setting: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # its graphs, without a compiler
    recipe = override(TINY, SETTINGS[setting])
    with Loader(figures, "train", recipe.data, batch_size=2, seed=0) as loader:
        batch = next(loader)
    found = []
    for at_once in (True, False):
        torch.manual_seed(0)
        network = build(recipe.model).to(memory_format=torch.channels_last)
        step = Step(network, recipe, World(0, 1, torch.device("cpu")))
        learner = step.gradients.learner  # pyright: ignore[reportFunctionMemberAccess]
        own = list(network.parameters())
        assert learner.halves is not None and learner.halves.layers
        if not at_once:
            learner.halves = None
        losses = step.gradients(batch, batch.real.sum(), torch.ones(()))
        assert all(one is other for one, other in zip(own, network.parameters(), strict=True))
        found.append((losses, {name: p.grad for name, p in network.named_parameters()}))
    (losses, gradients), (expected, others) = found
    assert torch.equal(losses, expected)
    for name, gradient in gradients.items():
        other = others[name]
        if other is None:
            assert gradient is None and setting == "frozen", name
        else:
            assert gradient is not None and gradient.dtype == torch.float32 and torch.equal(gradient, other), name


def test_only_one_thread_that_computes_with_whole_weights_casts_them_at_once():
    for how, casts in ({"parallel": "ddp"}, True), ({"parallel": "exact"}, False), ({"compile": "default"}, True):
        recipe = override(TINY, [f"{name}={value}" for name, value in how.items()])
        step = Step(build(recipe.model), recipe, World(0, 1, torch.device("cpu")))
        assert (step.gradients.learner.halves is not None) == casts  # pyright: ignore[reportFunctionMemberAccess]
