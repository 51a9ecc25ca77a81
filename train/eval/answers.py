"""What no network of ours says, measured as if one did: a predictor's answers, and one that never looks.

B images, H rows, W columns.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from david.model.heads.table import HEADS, Head
from david.model.predict.fields import Fields
from david.model.predict.predictor import Predictor
from david.model.prediction import Prediction
from david.pack.errors import DavidError

LEAST_SHARE = 2.0**-24  # an alpha nearer to 0 or 1 has this distance: its logit is finite, its sigmoid rounds to it


class Answers(nn.Module):
    """A predictor as a network: each image whole, by the predictor's own way there and back."""

    def __init__(self, predictor: Predictor):
        super().__init__()
        self.predictor = predictor
        self.heads = [head for head in HEADS.values() if head.says in predictor.fields]
        for head in self.heads:
            if head.finish and head.says not in BACK:
                raise DavidError(f"{predictor.name}: no measure knows how {head.says} becomes {head.output} again")

    def forward(self, image: torch.Tensor) -> Prediction:
        """image: (B, 3, H, W) uint8 sRGB, on any device, as are the outputs of the predictor's heads."""
        pictures = image.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        said = prediction_of(self.predictor.predict_all(list(pictures)), self.heads)
        return {name: output.to(image.device) for name, output in said.items()}


def prediction_of(said: Sequence[Fields], heads: Iterable[Head]) -> Prediction:
    """What was said of B pictures of one size as these heads would have said it: (B, C, H, W) float32 each."""
    prediction: Prediction = {}
    for head in heads:
        output = torch.from_numpy(np.stack([_planes(fields[head.says]) for fields in said]))
        prediction[head.output] = BACK[head.says](output) if head.finish else output
    return prediction


def logits(alpha: torch.Tensor) -> torch.Tensor:
    """Shares 0 .. 1, float32, to finite logits whose sigmoid they are to within 1.2e-7."""
    return torch.logit(alpha.double(), eps=LEAST_SHARE).float()


BACK: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # by field: what undoes its head's `finish`
    "alpha": logits,
}


def _planes(values: np.ndarray) -> np.ndarray:
    """(H, W) or (H, W, C) to (C, H, W)."""
    return values[None] if values.ndim == 2 else values.transpose(2, 0, 1)


class Constant(nn.Module):
    """The best that can be said without looking: a flat depth, of so many metres (see `constant.py`), normals towards
    the camera, all foreground."""

    def __init__(self, metres: float = 1.0):
        super().__init__()
        self.metres = metres

    def forward(self, image: torch.Tensor) -> Prediction:
        flat = image.new_zeros(len(image), 1, *image.shape[-2:], dtype=torch.float32)
        ahead = torch.cat([flat, flat, flat + 1], dim=1)
        return Prediction(relative_depth=flat, normals=ahead, alpha_logits=flat + 10, metric_depth_m=flat + self.metres)
