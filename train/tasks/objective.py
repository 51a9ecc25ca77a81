"""Where a Batch and a Prediction meet: which loss compares what, and how much each weighs.

B images, H rows, W columns. A new loss is a file in `losses/`, a row in TERMS and a weight in `config.ObjectiveConfig`.
"""

from collections.abc import Callable

import torch

from david.model.prediction import Prediction
from david.pipeline.batch import Batch
from david.train.losses.angular import angular
from david.train.losses.bce import bce
from david.train.losses.berhu import berhu
from david.train.losses.cosine import cosine
from david.train.losses.dice import dice
from david.train.losses.gradient_matching import gradient_matching
from david.train.losses.l1 import l1
from david.train.losses.laplacian import laplacian
from david.train.losses.masked import wide
from david.train.losses.ssi_l1 import ssi_l1
from david.train.losses.ssi_mse import ssi_mse

Compared = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # prediction, target, valid
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def depth(prediction: Prediction, batch: Batch) -> Compared:
    return prediction["relative_depth"], batch.targets["depth"].value, batch.targets["depth"].valid


def normals(prediction: Prediction, batch: Batch) -> Compared:
    assert "normals" in prediction
    return prediction["normals"], batch.targets["normals"].value, batch.targets["normals"].valid


def alpha_logits(prediction: Prediction, batch: Batch) -> Compared:
    assert "alpha_logits" in prediction
    return prediction["alpha_logits"], batch.targets["alpha"].value / 255, batch.targets["alpha"].valid


def alpha(prediction: Prediction, batch: Batch) -> Compared:
    logits, target, valid = alpha_logits(prediction, batch)
    return wide(logits).sigmoid(), target, valid


# name of the term, which begins with its head's: what it compares, and how
TERMS: dict[str, tuple[Callable[[Prediction, Batch], Compared], Loss]] = {
    "depth_ssi_mse": (depth, ssi_mse),
    "depth_ssi_l1": (depth, ssi_l1),
    "depth_berhu": (depth, berhu),
    "depth_gradient_matching": (depth, gradient_matching),
    "normals_cosine": (normals, cosine),
    "normals_angular": (normals, angular),
    "alpha_bce": (alpha_logits, bce),
    "alpha_l1": (alpha, l1),
    "alpha_dice": (alpha, dice),
    "alpha_laplacian": (alpha, laplacian),
}


def objective(prediction: Prediction, batch: Batch, names: tuple[str, ...]) -> torch.Tensor:
    """The losses called `names`, unweighted, of each image: (T, B) float32."""
    losses = []
    for name in names:
        view, loss = TERMS[name]
        losses.append(loss(*view(prediction, batch)))
    return torch.stack(losses)
