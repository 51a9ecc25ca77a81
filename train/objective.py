"""Where a Batch and a Prediction meet: which loss compares what, and how much each weighs.

B images, H rows, W columns. A new loss is a file in `losses/`, a row in TERMS and a weight in ObjectiveConfig.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from david.model.prediction import Prediction
from david.pack.errors import DavidError
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


@dataclass(frozen=True)
class ObjectiveConfig:
    """The weight of each term; 0 leaves a term out, and so does a network without its head.

    The terms with a weight here are the paper's (DAViD, section 4); its weights could not be read. Chosen here: 1 each,
    but for gradient matching MiDaS's 0.5 (Ranftl et al., TPAMI 2022, section 5), and for the five levels of the pyramid
    a fifth (Lin et al., "Robust High-Resolution Video Matting", WACV 2022, divides by their number).

    uncertainty: let each head's weight be learnt besides, see `learner.Balance`
    """

    depth_ssi_mse: float = 1.0
    depth_ssi_l1: float = 0.0
    depth_berhu: float = 0.0
    depth_gradient_matching: float = 0.5
    normals_cosine: float = 1.0
    normals_angular: float = 0.0
    alpha_bce: float = 1.0
    alpha_l1: float = 1.0
    alpha_dice: float = 1.0
    alpha_laplacian: float = 0.2
    uncertainty: bool = False

    def __post_init__(self) -> None:
        for name in TERMS:
            if not getattr(self, name) >= 0:
                raise DavidError(f"recipe: objective.{name} is {getattr(self, name)}; it must be 0 or more")


Compared = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # prediction, target, valid
Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def depth(prediction: Prediction, batch: Batch) -> Compared:
    assert prediction.relative_depth is not None
    return prediction.relative_depth, batch.depth, batch.valid


def normals(prediction: Prediction, batch: Batch) -> Compared:
    assert prediction.normals is not None
    return prediction.normals, batch.normals, batch.valid


def alpha_logits(prediction: Prediction, batch: Batch) -> Compared:
    """Foreground is known on every pixel, so every pixel is valid."""
    assert prediction.alpha_logits is not None
    return prediction.alpha_logits, batch.alpha / 255, torch.ones_like(batch.valid)


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


def terms(heads: tuple[str, ...], config: ObjectiveConfig) -> tuple[str, ...]:
    """The terms of these heads that have a weight. Raises DavidError where a head would learn nothing."""
    chosen = tuple(name for name in TERMS if name.startswith(heads) and getattr(config, name))
    for head in heads:
        if not any(name.startswith(head) for name in chosen):
            raise DavidError(f"recipe: model.heads has {head}, but every weight objective.{head}_* is 0")
    return chosen


def objective(prediction: Prediction, batch: Batch, names: tuple[str, ...]) -> torch.Tensor:
    """The losses called `names`, unweighted, of each image: (T, B) float32."""
    losses = []
    for name in names:
        view, loss = TERMS[name]
        losses.append(loss(*view(prediction, batch)))
    return torch.stack(losses)
