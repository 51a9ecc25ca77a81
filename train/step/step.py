"""One optimiser step: a batch of this rank's samples to new weights, the same on every rank.

The host asks nothing of the device in a step, and so runs ahead of it.

What is descended is the task's (`tasks/`), its gradient comes from `gradients.py`; the rest of a step is here.

B images of this rank, T terms of the loss.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from david.model.networks.network import Network
from david.pipeline import trace
from david.pipeline.batch import Batch
from david.train.distributed import World, whole
from david.train.recipe import Recipe
from david.train.step import attention, optim
from david.train.step.ema import Ema
from david.train.step.gradients import Learner, gradients
from david.train.step.scaling import LossScale
from david.train.step.schedule import rate_factor
from david.train.step.sharding import gathered, laid_out_as
from david.train.tasks.table import task_of

Tensors = Mapping[str, torch.Tensor]  # by name
TASK = "task"  # the group of a checkpoint that has the task's own tensors


@dataclass(frozen=True)
class Outcome:
    """What a step leaves to be written down; tensors stay on the device until somebody asks.

    losses: (T,) float32 or float64, this rank's share of each term, unweighted; the sum over ranks is the global mean
    norm: () float32, of the whole gradient before clipping; not finite: the step changed no weight
    factor: the schedule's, which every rate was multiplied with
    seen: (3, B) int64, ids, epochs and real of this rank's batch; the global batch is that of all ranks in their order
    count: () int64, real samples of the global batch
    extras: () each, by name: what there is to note beside, `loss_scale` and what the task has
    """

    step: int
    losses: torch.Tensor
    norm: torch.Tensor
    factor: float
    seen: torch.Tensor
    count: torch.Tensor
    extras: Tensors


class Step:
    """Holds what a step needs beside the network. Call it with a batch and the step's number.

    task: what is descended, as the recipe says
    optimiser: AdamW over the network's parameters and the task's
    named: those parameters by name, the task's behind `task.`
    reduced: what the network computes in, see `precision.py`
    ema, scaling: where the recipe asks for them
    draws: whether anything in a step may draw random numbers, for which the generators are then seeded
    """

    def __init__(self, network: Network, recipe: Recipe, world: World, tell: Callable[[str], None] = warnings.warn):
        """tell: is called with a sentence where the recipe can't be followed to the letter, as with compile"""
        self.recipe, self.world, self.network = recipe, world, network
        self.task = task_of(recipe.objective, recipe.model).to(world.device)
        if recipe.optim.frozen_backbone:
            network.backbone.freeze()
        network.backbone.vit.set_grad_checkpointing(recipe.recompute)
        learner = Learner(network, self.task, recipe, world.device, tell)
        self.attention = attention.settled(recipe, network, world, tell)
        self.gradients = gradients(learner, recipe, world)  # which may share out the parameters
        learner.compiler.advise(recipe.micro_batch or recipe.batch_size // world.size, world.device)
        self.parameters = [p for p in learner.parameters() if p.requires_grad]
        self.optimiser = optim.adamw(network, recipe.optim, self.task)
        self.named = dict(network.named_parameters())
        self.named |= {f"{TASK}.{name}": parameter for name, parameter in self.task.named_parameters()}
        self.ema = Ema(network, recipe.optim.ema, recipe.optim.ema_warmup) if recipe.optim.ema > 0 else None
        self.reduced = learner.reduced
        self.scaling = LossScale(world.device) if self.reduced is torch.float16 else None
        self.unscaled = torch.ones((), device=world.device)
        self.draws = may_draw(learner) or self.task.draws

    @trace.spanned("step")
    def __call__(self, batch: Batch, step: int, between: Callable[[], None] = lambda: None) -> Outcome:
        """The step numbered `step` (1 is the first) on this rank's `batch`.

        between: is called when the gradient is under way and the weights are still those of the step before"""
        if self.draws:
            seed_generators(self.recipe.seed, step, self.world.rank)
        self.task.begin(self.recipe.seed, step)
        count = self.world.sum(batch.real.sum())
        self.optimiser.zero_grad(set_to_none=True)
        with attention.only(self.attention):
            losses = self.gradients(batch, count, self.scaling.scale if self.scaling else self.unscaled)
        if self.task.listens:
            self.task.heard(self.world.sum(losses))
        between()
        norm, factor = self.descend(step)
        seen = torch.stack([batch.ids, batch.epochs, batch.real.long()])
        return Outcome(step, losses, norm, factor, seen, count, self.extras())

    @trace.spanned("optimiser")
    def descend(self, step: int) -> tuple[torch.Tensor, float]:
        """Change the weights by the gradient that is there; its norm and the schedule's factor, see `Outcome`."""
        if self.scaling:
            self.scaling.unscale(p.grad for p in self.parameters if p.grad is not None)
        norm = whole(nn.utils.clip_grad_norm_(self.parameters, self.recipe.optim.clip))
        finite = norm.isfinite()
        factor = rate_factor(step, self.recipe.steps, self.recipe.optim)
        optim.set_rates(self.optimiser, factor)
        # not finite: the fused kernel leaves all as it was
        self.optimiser.found_inf = (~finite).float()  # pyright: ignore[reportAttributeAccessIssue]
        self.optimiser.step()
        if self.scaling:
            self.scaling.update(finite)
        if self.ema:
            self.ema.update(step)
        return norm, factor

    def extras(self) -> Tensors:
        """See `Outcome`; copies of what it is now."""
        found = {"loss_scale": self.scaling.scale} if self.scaling else {}
        return {name: value.clone() for name, value in {**found, **self.task.extras()}.items()}

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Meanwhile the network has the weights by which it is to be measured, their average where there is one, and
        every rank has them whole. All ranks enter and leave together."""
        with self.ema.in_place() if self.ema else nullcontext(), gathered(self.network):
            yield

    def state(self) -> dict[str, dict[str, torch.Tensor]]:
        """What a checkpoint holds beside the network's weights and `optimiser`, by group and name; see `restore`."""
        groups: dict[str, dict[str, torch.Tensor]] = {}
        if self.ema:
            groups["average"] = dict(self.network.state_dict()) | self.ema.values
        if self.scaling:
            groups["scaling"] = {"scale": self.scaling.scale, "good": self.scaling.good}
        if own := self.task.state_dict():
            groups[TASK] = own
        return groups

    @torch.no_grad()
    def restore(self, groups: Mapping[str, Tensors]) -> None:
        """Go on from what `state` gave; weights and `optimiser` are somebody else's."""
        if self.ema:
            for name, value in self.ema.values.items():
                value.copy_(laid_out_as(value, groups["average"][name]))
        if self.scaling:
            self.scaling.scale.copy_(groups["scaling"]["scale"])
            self.scaling.good.copy_(groups["scaling"]["good"])
        if own := self.task.state_dict():
            stored = groups[TASK] if TASK in groups else self._as_before(groups["balance"])
            self.task.load_state_dict({name: laid_out_as(own[name], value) for name, value in stored.items()})

    def _as_before(self, balance: Tensors) -> Tensors:
        """The task's tensors in a checkpoint of before, when learnt weights had an optimiser of their own: its moments
        stand with them, and go into the one that there is now."""
        own, name = self.named[f"{TASK}.log_variances"], "log_variances"
        moments = {each: laid_out_as(own, balance[each]) for each in ("exp_avg", "exp_avg_sq")}
        self.optimiser.state[own] = {"step": balance["step"].to(own.device), **moments}
        return {name: balance[name]}


KNOWN = ("torch", "timm", "david")  # whose modules draw by the shares that they say, and by nothing else
SHARES = ("p", "drop_prob", "prob", "dropout")  # of dropout, dropped paths, dropped patches, attention


def may_draw(learner: nn.Module) -> bool:
    """Whether computing with these modules may draw random numbers; of those of others nobody knows."""
    return any(
        type(module).__module__.partition(".")[0] not in KNOWN
        or any(isinstance(share := getattr(module, name, 0), int | float) and share > 0 for name in SHARES)
        for module in learner.modules()
    )


def seed_generators(seed: int, step: int, rank: int) -> None:
    """Key torch's generators to (seed, step, rank): what a step draws is the same whatever ran before."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> 1))
