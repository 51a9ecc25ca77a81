"""Each head compared with what the shards say: where a prediction and a batch meet.

B images, H rows, W columns, T terms of the loss, K heads.
"""

import torch
from torch import nn

from david.model.configs.base import ModelConfig
from david.model.heads.table import HEADS
from david.model.prediction import Prediction
from david.pack.lazy import Lazy, load
from david.pipeline.batch import Batch, Target
from david.train.distributed import whole
from david.train.losses.masked import wide
from david.train.losses.table import TERMS, Term
from david.train.tasks.config import ObjectiveConfig
from david.train.tasks.task import Predict, Task


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
        self.heads = heads = tuple(dict.fromkeys(names))
        self.register_buffer("head", torch.tensor([heads.index(name) for name in names]), persistent=False)
        self.register_buffer("leader", torch.tensor([names.index(name) for name in heads]), persistent=False)
        self.log_variances = nn.Parameter(torch.zeros(len(heads))) if config.uncertainty else None

    def forward(self, network: Predict, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        terms = [TERMS[name] for name in self.terms]
        counted = {term.target: batch.real & has(batch.targets[term.target]) for term in terms}
        return compare(network(batch.image), batch, terms), torch.stack([counted[term.target] for term in terms])

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
    values = {name: numbers(batch.targets[name]) for name in dict.fromkeys(term.target for term in terms)}
    views: dict[tuple[str, str, Lazy], torch.Tensor] = {}
    losses = []
    for term in terms:
        value, valid = values[term.target], batch.targets[term.target].valid
        seen = term.head, term.target, term.view
        if seen not in views:
            views[seen] = load(term.view)(prediction[HEADS[term.head].output], value, valid)
        losses.append(load(term.loss)(views[seen], value, valid))
    return torch.stack(losses)


def numbers(target: Target) -> torch.Tensor:
    """What a target means, float32 or better: bytes are shares of 255, all else is what it is."""
    return target.value / 255 if target.value.dtype == torch.uint8 else wide(target.value)


def has(target: Target) -> torch.Tensor:
    """(B,) bool: the images of which a target says anything."""
    return target.valid.flatten(1).any(1)
