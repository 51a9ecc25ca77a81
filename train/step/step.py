"""One optimiser step: a batch of this rank's samples to new weights, the same on every rank.

N images of the global batch, T terms of the loss.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from david.model.networks.network import Network
from david.pipeline.batch import Batch
from david.train.config import terms
from david.train.distributed import World
from david.train.recipe import Recipe
from david.train.step import optim
from david.train.step.ema import Ema
from david.train.step.gradients import gradients
from david.train.step.learner import Learner
from david.train.step.scaling import LossScale
from david.train.step.schedule import rate_factor
from david.train.step.sharding import gathered, laid_out_as, whole

Tensors = Mapping[str, torch.Tensor]  # by name


@dataclass(frozen=True)
class Outcome:
    """What a step leaves to be written down; tensors stay on the device until somebody asks.

    losses: (T,) float32 or float64, this rank's share of each term, unweighted; the sum over ranks is the global mean
    norm: () float32, of the whole gradient before clipping; not finite: the step changed no weight
    factor: the schedule's, which every rate was multiplied with
    ids, epochs: (N,) int64, real: (N,) bool: the global batch in its order
    sought: () each, by name: what the step finds out beside the weights, `loss_scale` and `log_variance_HEAD`
    """

    step: int
    losses: torch.Tensor
    norm: torch.Tensor
    factor: float
    ids: torch.Tensor
    epochs: torch.Tensor
    real: torch.Tensor
    sought: Tensors


class Step:
    """Holds what a step needs beside the network. Call it with a batch and the step's number.

    terms: the names of the loss's terms, in the order of `Outcome.losses`
    optimiser: AdamW over the network's parameters
    optimisers: that one, and one for the weights of the tasks where those are learnt
    reduced: what the network computes in, see `precision.py`
    ema, scaling: where the recipe asks for them
    before_change: called when a step's gradient is under way and the weights are still those of the step before
    """

    def __init__(self, network: Network, recipe: Recipe, world: World, tell: Callable[[str], None] = warnings.warn):
        """tell: is called with a sentence where the recipe can't be followed to the letter, as with compile"""
        self.recipe, self.world, self.network = recipe, world, network
        self.terms = terms(recipe.model.heads, recipe.objective)
        if recipe.optim.frozen_backbone:
            network.backbone.freeze()
        network.backbone.vit.set_grad_checkpointing(recipe.recompute)
        learner = Learner(network, self.terms, recipe, world.device, tell)
        self.gradients = gradients(learner, recipe, world)  # which may share out the parameters
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.optimiser = optim.adamw(network, recipe.optim)
        self.balance = learner.balance
        self.optimisers = [self.optimiser]
        if recipe.objective.uncertainty:
            self.optimisers.append(optim.adamw(self.balance, replace(recipe.optim, layer_decay=1.0)))
        averaged = recipe.optim.ema > 0
        self.ema = Ema(network, recipe.optim.ema, recipe.optim.ema_warmup) if averaged else None
        self.reduced = learner.reduced
        self.scaling = LossScale(world.device) if self.reduced is torch.float16 else None
        self.before_change: Callable[[], None] = lambda: None

    def __call__(self, batch: Batch, step: int) -> Outcome:
        """The step numbered `step` (1 is the first) on this rank's `batch`."""
        seed_generators(self.recipe.seed, step, self.world.rank)
        ids, epochs, real = self.world.gather(torch.stack([batch.ids, batch.epochs, batch.real.long()])).unbind(1)

        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        scale = self.scaling.scale if self.scaling else torch.ones((), device=batch.image.device)
        losses = self.gradients(batch, real.sum(), scale)
        self.before_change()
        if self.scaling:
            self.scaling.unscale(p.grad for p in self.parameters if p.grad is not None)
        norm = whole(nn.utils.clip_grad_norm_(self.parameters, self.recipe.optim.clip))
        finite = norm.isfinite()
        factor = rate_factor(step, self.recipe.steps, self.recipe.optim)
        for optimiser in self.optimisers:
            optim.set_rates(optimiser, factor)
            # not finite: the fused kernel leaves all as it was
            optimiser.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
            optimiser.step()
        if self.scaling:
            self.scaling.update(finite)
        if self.ema:
            self.ema.update(step)
        seen = ids.flatten(), epochs.flatten(), real.flatten().bool()
        return Outcome(step, losses, norm, factor, *seen, self.sought())

    def sought(self) -> Tensors:
        """See `Outcome`; copies of what it is now."""
        found = {"loss_scale": self.scaling.scale.clone()} if self.scaling else {}
        if self.balance.log_variances is not None:
            values = whole(self.balance.log_variances.detach()).clone()
            found |= {f"log_variance_{head}": value for head, value in zip(self.balance.heads, values, strict=True)}
        return found

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Meanwhile the network has the weights by which it is to be judged, their average where there is one, and
        every rank has them whole. All ranks enter and leave together."""
        with self.ema.in_place() if self.ema else nullcontext(), gathered(self.network):
            yield

    def extra(self) -> dict[str, dict[str, torch.Tensor]]:
        """What a checkpoint holds beside the network's weights and `optimiser`, by group and name; see `take_up`."""
        groups: dict[str, dict[str, torch.Tensor]] = {}
        if self.ema:
            groups["average"] = dict(self.network.state_dict()) | self.ema.values
        if self.scaling:
            groups["scaling"] = {"scale": self.scaling.scale, "good": self.scaling.good}
        if self.balance.log_variances is not None:
            moments = self.optimisers[1].state[self.balance.log_variances]
            groups["balance"] = {"log_variances": self.balance.log_variances, **moments}
        return groups

    @torch.no_grad()
    def take_up(self, groups: Mapping[str, Tensors]) -> None:
        """Go on from what `extra` gave; weights and `optimiser` are somebody else's."""
        if self.ema:
            for name, value in self.ema.values.items():
                value.copy_(laid_out_as(value, groups["average"][name]))
        if self.scaling:
            self.scaling.scale.copy_(groups["scaling"]["scale"])
            self.scaling.good.copy_(groups["scaling"]["good"])
        if self.balance.log_variances is not None:
            moments = dict(groups["balance"])
            own, log_variances = self.optimisers[1], self.balance.log_variances
            log_variances.copy_(laid_out_as(log_variances, moments.pop("log_variances")))
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = laid_out_as(log_variances, moments[name])
            own.load_state_dict(own.state_dict() | {"state": {0: moments}})


def seed_generators(seed: int, step: int, rank: int) -> None:
    """Key torch's generators to (seed, step, rank): what a step draws is the same whatever ran before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))
