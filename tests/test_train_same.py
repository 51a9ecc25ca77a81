"""What was trained before is trained the same: losses of a few steps, as an older version left them."""

from pathlib import Path

import pytest
import torch

from david.model import build
from david.pipeline.loader import Loader
from david.train import recipes
from david.train.distributed import World
from david.train.recipe import override
from david.train.step.step import Step

RECIPE = override(
    recipes.recipe("smoke"),
    [
        *(
            "data.height=48",
            "data.width=32",
            "data.fit=stretch",
            "model.backbone_size=32",
            "model.width=16",
            "model.head_widths=8,8",
        ),
        *("model.reassemble=8,8,8,8", "batch_size=4", "steps=6", "optim.warmup=2", "objective.uncertainty=true"),
        *("objective.normals_angular=0.5", "objective.depth_berhu=0.5"),
    ],
)
# Of the version that packed format 1, had no tasks, and fitted depth anew for each loss. There to the bit, on the
# processor that it was written down on; another one's sums of products differ in their last digits.
LOSSES = {
    "depth_ssi_mse": (0.156757267, 0.0991174579, 0.121699039),
    "depth_berhu": (0.445881896, 0.318427861, 0.351709433),
    "depth_gradient_matching": (1.22929789, 1.35328168, 1.06868528),
    "normals_cosine": (0.235690191, 0.22653402, 0.238946248),
    "normals_angular": (0.633777529, 0.618548013, 0.641214624),
    "alpha_bce": (0.70555158, 0.746738955, 0.864832714),
    "alpha_l1": (0.481519103, 0.500586219, 0.478732934),
    "alpha_dice": (0.470947221, 0.42529431, 0.489520967),
    "alpha_laplacian": (4.09496856, 5.28312254, 5.57078135),
}
NORMS = (3.5841105, 4.0885987, 18.8025208)


def test_the_first_losses_are_those_of_before(shards: Path):
    torch.manual_seed(0)
    network = build(RECIPE.model).to(memory_format=torch.channels_last)
    step = Step(network, RECIPE, World(0, 1, torch.device("cpu")))
    with Loader(shards, "train", RECIPE.data, batch_size=4, seed=0) as loader:
        outcomes = [step(next(loader), number) for number in (1, 2, 3)]
    assert step.task.terms == tuple(LOSSES)
    found = zip(*(outcome.losses.tolist() for outcome in outcomes), strict=True)
    for values, expected in zip(found, LOSSES.values(), strict=True):
        assert values == pytest.approx(expected, rel=1e-4)
    assert [outcome.norm.item() for outcome in outcomes] == pytest.approx(NORMS, rel=1e-3)
