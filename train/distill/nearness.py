"""What a network says of depth, as something that grows with nearness, whatever it calls it.

B images, H rows, W columns.
"""

from collections.abc import Callable, Iterable

import torch

from david.model.prediction import Prediction
from david.pack.errors import DavidError

LEAST_M = 1e-3
NEARNESS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # by the output; the first that is there counts
    "relative_disparity": lambda disparity: disparity,
    "metric_depth_m": lambda metres: 1 / metres.clamp(min=LEAST_M),
    "relative_depth": lambda depth: -depth,
}


def nearness(prediction: Prediction, who: str = "the network") -> torch.Tensor:
    """(B, 1, H, W) float32, of a scale and a shift of its own. Raises DavidError where nothing is said of depth."""
    output = of_depth(prediction, who)
    return NEARNESS[output](prediction[output].float())


def of_depth(outputs: Iterable[str], who: str) -> str:
    """The output that is taken. Raises DavidError where none of them is of depth."""
    said = list(outputs)
    if found := next((output for output in NEARNESS if output in said), None):
        return found
    raise DavidError(f"{who} says {', '.join(said)}, and nothing of depth; expected one of {', '.join(NEARNESS)}")
