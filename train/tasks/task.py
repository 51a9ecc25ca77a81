"""The one seam between a network and its data.

B images of a batch, T terms of the loss.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from david.model.networks.network import Network
from david.model.prediction import Prediction
from david.pipeline.batch import Batch

Predict = Callable[[torch.Tensor], Prediction]  # the network on images, in whatever it computes in


class Task(nn.Module):
    """What a step descends. Its own parameters are trained beside the network's, at the recipe's full rate, and its
    state is a part of each checkpoint.

    terms: their names; weights: what each is multiplied with
    draws: whether it may draw random numbers; that of a class from elsewhere is taken to
    listens: whether it asks for each step's losses, see `heard`
    """

    terms: tuple[str, ...]
    weights: tuple[float, ...]
    draws: bool = False
    listens: bool = False
    factors: torch.Tensor  # (T,) the weights on the device

    def __init__(self, weighted: Mapping[str, float]):
        super().__init__()
        self.terms, self.weights = tuple(weighted), tuple(weighted.values())
        self.register_buffer("factors", torch.tensor(self.weights), persistent=False)

    def forward(self, network: Predict, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """(T, B) float32 or better, the terms of each image before their weights, and (T, B) bool, the images that
        each term counts: those that are real and have what it compares with. Called where nothing is autocast."""
        raise NotImplementedError

    def join(self, network: Network) -> Predict | None:
        """Look once at the network that is to be trained, with the weights that it begins with, before its parameters
        and the task's are given to the optimiser. What is to be called in its place, where that says more; None: it"""
        return None

    def begin(self, seed: int, step: int) -> None:
        """The step that comes, and the recipe's seed: all that a task may draw by, beside its samples."""

    def heard(self, means: torch.Tensor) -> None:
        """The step's terms (T,), of the global batch, the same on every rank; called where the task `listens`."""

    def shown(self, prediction: Prediction, batch: Batch) -> dict[str, torch.Tensor]:
        """Maps to be pictured beside a prediction for these images, by what stands above them: (B, 1, H, W) float, of
        one scale, growing with nearness; nan where there is nothing to see."""
        return {}

    def compile_with(self, compiler: Callable[..., Any]) -> None:
        """Make graphs of what it computes with, where it can: `compiler(function, "... run", vital=False)` is what to
        call instead of the function, see `step/compiled.py`. A recipe's `compile` asks for it, before training."""

    def total(self, means: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """What is descended, (): of the terms' means (T,), and of the share of images (T,) that each counts. Of parts
        of a batch both are parts of their sums, and so is this."""
        return means @ self.factors

    def extras(self) -> dict[str, torch.Tensor]:
        """What there is to note of each step beside the terms, () each, by name."""
        return {}
