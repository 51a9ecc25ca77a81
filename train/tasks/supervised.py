"""Each head compared with what the shards say: where a prediction and a batch meet.

B images, H rows, W columns, T terms of the loss, K heads.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from david.model.configs.base import ModelConfig
from david.model.heads.table import HEADS
from david.model.prediction import Prediction
from david.pack.lazy import Lazy, load
from david.pipeline.batch import Batch, Target
from david.train.distributed import whole
from david.train.losses.table import PAIRS, TERMS, Term
from david.train.losses.views import metres, pairs
from david.train.tasks.config import ObjectiveConfig
from david.train.tasks.task import Predict, Task

CALLED = ("view", "truth", "loss")  # of a term


class Supervised(Task):
    """The recipe's terms, weighed as it says and summed.

    With `uncertainty` each head h has a learnt log-variance s_h besides, which begins at 0:

        sum_h exp(-s_h) L_h + s_h      L_h: the head's weighted terms

    twice eq. 7 of Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
    and Semantics", CVPR 2018, with s = log sigma^2, for each head whatever its kind of loss. An image without the
    head's target moves s_h nowhere.
    """

    head: torch.Tensor  # (T,) int64, each term's, counted in the order of the terms
    leader: torch.Tensor  # (K,) int64, the first term of each head

    def __init__(self, config: ObjectiveConfig, model: ModelConfig):
        terms = config.terms(model.heads)
        super().__init__({name: getattr(config, name) for name in terms})
        names = [TERMS[name].head for name in terms]
        found = [TERMS[name] for name in terms]
        self.rows = [replace(one, **{part: load(getattr(one, part)) for part in CALLED}) for one in found]
        called = [getattr(one, part) for one in self.rows for part in CALLED]
        self.draws = not all(getattr(one, "__module__", "").startswith("david.") for one in called)  # else nobody knows
        self.heads = heads = tuple(dict.fromkeys(names))
        self.register_buffer("head", torch.tensor([heads.index(name) for name in names]), persistent=False)
        self.register_buffer("leader", torch.tensor([names.index(name) for name in heads]), persistent=False)
        self.log_variances = nn.Parameter(torch.zeros(len(heads))) if config.uncertainty else None
        self.span_m = span_m(model)
        self.judge = self.judged

    def forward(self, network: Predict, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return self.judge(network(batch.image), batch)

    def compile_with(self, compiler: Callable[..., Any]) -> None:
        self.judge = compiler(self.judged, "the losses run", vital=False)

    def judged(self, prediction: Prediction, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """What `forward` gives, of what the network said."""
        if self.span_m:
            batch = within(batch, self.span_m)
        targets = dict.fromkeys(term.target for term in self.rows)
        counted = {target: batch.real & has(told(batch, target)) for target in targets}
        return compare(prediction, batch, self.rows), torch.stack([counted[term.target] for term in self.rows])

    def total(self, means: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        if self.log_variances is None:
            return super().total(means, present)
        by_head = torch.zeros_like(self.log_variances).index_add(0, self.head, means * self.factors)
        return (torch.exp(-self.log_variances) * by_head + self.log_variances * present[self.leader]).sum()

    def extras(self) -> dict[str, torch.Tensor]:
        if self.log_variances is None:
            return {}
        return {
            f"log_variance_{head}": one
            for head, one in zip(self.heads, whole(self.log_variances.detach()), strict=True)
        }


def compare(prediction: Prediction, batch: Batch, terms: list[Term]) -> torch.Tensor:
    """These terms, unweighted, of each image: (T, B) float32. Exactly 0 where an image has nothing to compare with."""
    asked = dict.fromkeys((term.target, term.truth) for term in terms)
    truths = {(target, truth): load(truth)(told(batch, target), batch) for target, truth in asked}
    views: dict[tuple[Lazy, ...], torch.Tensor] = {}
    losses = []
    for term in terms:
        truth, seen = truths[term.target, term.truth], (term.head, term.target, term.truth, term.view)
        if seen not in views:
            views[seen] = load(term.view)(prediction[HEADS[term.head].output], truth.value, truth.valid)
        losses.append(load(term.loss)(views[seen], truth.value, truth.valid))
    return torch.stack(losses)


def span_m(model: ModelConfig) -> tuple[float, float] | None:
    """The least and the most depth that a network of metric depth can say; None where it says none."""
    if "metric_depth" not in model.heads:
        return None
    return getattr(model, "min_depth", 0.0), getattr(model, "max_depth", None) or math.inf


def within(batch: Batch, span: tuple[float, float]) -> Batch:
    """The batch, its depth valid only where it is within (least, most) metres: of what lies beyond, which a network
    can't say, it learns nothing. So both official trainers do (Depth Anything V2's, ZoeDepth's)."""
    if "depth" not in batch.targets:
        return batch
    depth = metres(batch.targets["depth"], batch)
    valid = depth.valid & (depth.value >= span[0]) & (depth.value <= span[1])
    value = torch.where(valid, batch.targets["depth"].value, 0)
    return replace(batch, targets=batch.targets | {"depth": Target(value, valid)})


def told(batch: Batch, target: str) -> Target:
    """What a batch says that a term can compare with."""
    return pairs(batch) if target == PAIRS else batch.targets[target]


def has(target: Target) -> torch.Tensor:
    """(B,) bool: the images of which a target says anything."""
    return target.valid.flatten(1).any(1)
