"""One optimiser step: a batch of this rank's samples to new weights, the same on every rank.

B this rank's images, N the global batch's, T terms of the loss.

A term's loss is its mean over the real images of the global batch, so ranks and accumulation change nothing but the
order of summation: each rank divides its sums by the global count, and DDP, which averages gradients over ranks, gets
the loss times the number of ranks.
"""

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from david.pack.errors import DavidError
from david.pipeline.batch import Batch
from david.train import optim
from david.train.distributed import World
from david.train.objective import objective, terms
from david.train.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What a step leaves to be written down; tensors stay on the device until somebody asks.

    losses: (T,) float32, this rank's share of each term, unweighted; the sum over ranks is the global mean
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


class Learner(nn.Module):
    """Network and objective as one module from tensors to a tensor, which is what DDP sees through."""

    def __init__(self, network: nn.Module, terms: tuple[str, ...], autocast: bool):
        super().__init__()
        self.network, self.terms, self.autocast = network, terms, autocast

    def forward(self, batch: Batch, count: torch.Tensor) -> torch.Tensor:
        """(T,) float32: the sum of each term over the real images of `batch`, divided by `count`."""
        kind = batch.image.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.autocast):
            prediction = self.network(batch.image)
        with torch.autocast(kind, enabled=False):
            losses = objective(prediction, batch, self.terms)
        return torch.where(batch.real, losses, 0).sum(1) / count


class Step:
    """Holds what a step needs: the network behind DDP, the optimiser, the schedule. Call it with a batch and a number.

    terms: the names of the loss's terms, in the order of `Outcome.losses`; weights: (T,) float32 beside them
    """

    def __init__(self, network: nn.Module, recipe: Recipe, world: World):
        self.recipe, self.world = recipe, world
        self.terms = terms(recipe.model.heads, recipe.objective)
        self.weights = torch.tensor([getattr(recipe.objective, name) for name in self.terms], device=world.device)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = optim.adamw(network, recipe.optim)
        if recipe.compile:
            network.compile()
        learner = Learner(network, self.terms, use_bf16(recipe, world.device))
        self.learner = learner if world.size == 1 else shared(learner, recipe, world)

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """The step numbered `step` (1 is the first) on this rank's `batch`."""
        seed_generators(self.recipe.seed, step, self.world.rank)
        ids, epochs, real = self.world.gather(torch.stack([batch.ids, batch.epochs, batch.real.long()])).unbind(1)
        count = real.sum()

        losses = self.weights.new_zeros(len(self.terms))
        self.optimiser.zero_grad(set_to_none=True)
        parts = cut(batch, self.recipe.accumulate)
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last or self.world.size == 1 else self.learner.no_sync():
                share = self.learner(part, count)
                (share @ self.weights * self.world.size).backward()
            losses += share.detach()

        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.optim.clip)
        factor = optim.rate_factor(step, self.recipe.steps, self.recipe.optim)
        optim.set_rates(self.optimiser, factor)
        self.optimiser.found_inf = (~norm.isfinite()).float()  # not finite: the fused kernel leaves all as it was
        self.optimiser.step()
        return Outcome(step, losses, norm, factor, ids.flatten(), epochs.flatten(), real.flatten().bool())


def use_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the network runs in bf16. Raises DavidError where the recipe asks for what the GPU cannot do."""
    able = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if recipe.precision == "bf16" and not able:
        raise DavidError(f"recipe: precision is bf16, which {torch.cuda.get_device_name(device)} has not; take fp32")
    return recipe.precision == "bf16" or (recipe.precision == "auto" and device.type == "cuda" and able)


def shared(learner: Learner, recipe: Recipe, world: World) -> DistributedDataParallel:
    """DDP; a static graph except while gradients gather over several backwards, which static graphs do not allow."""
    return DistributedDataParallel(
        learner,
        device_ids=[world.device.index] if world.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        static_graph=recipe.accumulate == 1,
    )


def cut(batch: Batch, parts: int) -> list[Batch]:
    """The batch in `parts` parts of one size. Raises DavidError where it does not divide."""
    size, rest = divmod(len(batch), parts)
    if rest or not size:
        raise DavidError(f"recipe: accumulate is {parts}, which does not divide a rank's {len(batch)} samples")
    return [batch.slice(start, start + size) for start in range(0, len(batch), size)]


def seed_generators(seed: int, step: int, rank: int) -> None:
    """Key torch's generators to (seed, step, rank): dropout of a step is the same whatever ran before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))
