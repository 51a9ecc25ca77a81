"""One optimiser step: a batch of this rank's samples to new weights, the same on every rank.

N images of the global batch, T terms of the loss.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from david.pipeline.batch import Batch
from david.train import optim
from david.train.distributed import World
from david.train.gradients import gradients
from david.train.objective import terms
from david.train.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What a step leaves to be written down; tensors stay on the device until somebody asks.

    losses: (T,) float32 or float64, this rank's share of each term, unweighted; the sum over ranks is the global mean
    norm: () float32, of the whole gradient before clipping; not finite: the step changed no weight
    factor: the schedule's, which every rate was multiplied with
    ids, epochs: (N,) int64, real: (N,) bool: the global batch in its order
    """

    step: int
    losses: torch.Tensor
    norm: torch.Tensor
    factor: float
    ids: torch.Tensor
    epochs: torch.Tensor
    real: torch.Tensor


class Step:
    """Holds what a step needs beside the network. Call it with a batch and the step's number.

    terms: the names of the loss's terms, in the order of `Outcome.losses`
    optimiser: AdamW over the network's parameters
    """

    def __init__(self, network: nn.Module, recipe: Recipe, world: World):
        self.recipe, self.world = recipe, world
        self.terms = terms(recipe.model.heads, recipe.objective)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = optim.adamw(network, recipe.optim)
        if recipe.compile:
            network.compile()
        self.gradients = gradients(network, self.terms, recipe, world)

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """The step numbered `step` (1 is the first) on this rank's `batch`."""
        seed_generators(self.recipe.seed, step, self.world.rank)
        ids, epochs, real = self.world.gather(torch.stack([batch.ids, batch.epochs, batch.real.long()])).unbind(1)

        self.optimiser.zero_grad(set_to_none=True)
        losses = self.gradients(batch, real.sum())
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.optim.clip)
        factor = optim.rate_factor(step, self.recipe.steps, self.recipe.optim)
        optim.set_rates(self.optimiser, factor)
        # not finite: the fused kernel leaves all as it was
        self.optimiser.found_inf = (~norm.isfinite()).float()  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser.step()
        return Outcome(step, losses, norm, factor, ids.flatten(), epochs.flatten(), real.flatten().bool())


def seed_generators(seed: int, step: int, rank: int) -> None:
    """Key torch's generators to (seed, step, rank): what a step draws is the same whatever ran before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))
