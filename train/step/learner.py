"""Network and objective as one module from tensors to a tensor, which is what DDP and autograd see through.

B images, T terms of the loss, H heads.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch._functorch import config as functorch

from david.model.foreign import first_line
from david.model.networks.network import Network
from david.model.prediction import Prediction
from david.pipeline.batch import Batch
from david.train.config import ObjectiveConfig
from david.train.recipe import Recipe
from david.train.step.precision import computing_in, half_precision
from david.train.tasks.objective import objective


class Learner(nn.Module):
    """reduced: what the network computes in, see `precision.py`
    tell: is called once with a sentence where torch.compile fails; the network then runs as it is"""

    def __init__(
        self,
        network: Network,
        terms: tuple[str, ...],
        recipe: Recipe,
        device: torch.device,
        tell: Callable[[str], None],
    ):
        super().__init__()
        self.network, self.terms, self.tell = network, terms, tell
        self.reduced = half_precision(recipe.precision, device)
        self.balance = Balance(terms, recipe.objective).to(device)
        self.compiled: Callable[[torch.Tensor], Prediction] | None = None
        if recipe.compile:
            # the backward too in the first forward, where what fails can still be done without
            functorch.force_non_lazy_backward_lowering = True
            # training's graph alone: whoever else calls the network, to measure it or to draw, calls it as it is, and
            # a last part of another size gets a graph of its own
            self.compiled = torch.compile(network.forward, dynamic=False)

    def forward(self, batch: Batch, count: torch.Tensor) -> torch.Tensor:
        """(T + 1,) float32: the sum of each term over the real images of `batch`, divided by `count`; then their
        weighted sum, which is descended. Over all batches that share one `count` they add up to those of the whole."""
        with computing_in(self.reduced, batch.image.device):
            prediction = self.predict(batch.image)
        with computing_in(None, batch.image.device):
            losses = objective(prediction, batch, self.terms)
        shares = torch.where(batch.real, losses, 0).sum(1) / count
        # the gradient of a loss that is not finite may be: made nan, it tells every rank through the norm
        total = self.balance(shares, batch.real.sum() / count) * torch.where(shares.isfinite().all(), 1.0, torch.nan)
        return torch.cat([shares, total.unsqueeze(0)])

    def predict(self, image: torch.Tensor) -> Prediction:
        if self.compiled is None:
            return self.network(image)
        try:
            return self.compiled(image)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of Dynamo, Inductor, Triton, the C++ compiler: they share no base
            self.compiled = None
            cause = getattr(error, "inner_exception", error)  # of a backend
            self.tell(f"torch.compile failed, so the network runs uncompiled ({first_line(cause)})")
            return self.network(image)


class Balance(nn.Module):
    """The terms weighted as the recipe says and summed: what is descended.

    With `uncertainty` each head h has a learnt log-variance s_h besides, which begins at 0:

        sum_h exp(-s_h) L_h + s_h      L_h: the head's weighted terms

    twice eq. 7 of Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry
    and Semantics", CVPR 2018, with s = log sigma^2, for each head whatever its kind of loss.
    """

    heads: tuple[str, ...]
    weights: torch.Tensor  # (T,)
    head: torch.Tensor  # (T,) int64, each term's, counted in the order of the terms

    def __init__(self, terms: tuple[str, ...], config: ObjectiveConfig):
        super().__init__()
        names = [term.split("_")[0] for term in terms]
        self.heads = heads = tuple(dict.fromkeys(names))
        self.register_buffer("weights", torch.tensor([getattr(config, term) for term in terms]), persistent=False)
        self.register_buffer("head", torch.tensor([heads.index(name) for name in names]), persistent=False)
        self.log_variances = nn.Parameter(torch.zeros(len(heads))) if config.uncertainty else None

    def forward(self, shares: torch.Tensor, fraction: torch.Tensor) -> torch.Tensor:
        """shares: (T,) of the batch's terms; fraction: () of the images that it has. Returns ()."""
        if self.log_variances is None:
            return shares @ self.weights
        by_head = torch.zeros_like(self.log_variances).index_add(0, self.head, shares * self.weights)
        return (torch.exp(-self.log_variances) * by_head + self.log_variances * fraction).sum()
