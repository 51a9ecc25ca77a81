"""Image to prediction. The main path is `networks/david`.

`build`, `Network`, `ModelConfig` and `Prediction` are found here, and loaded when they are first asked for: they need
torch, which the command line's help does not wait for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from david.model.configs.base import ModelConfig
    from david.model.networks.network import Network, build
    from david.model.prediction import Prediction

__all__ = ["ModelConfig", "Network", "Prediction", "build"]

_HOME = {
    "build": "networks.network",
    "Network": "networks.network",
    "ModelConfig": "configs.base",
    "Prediction": "prediction",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
