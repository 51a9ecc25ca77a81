"""david: high-throughput training of human-centric dense prediction: relative depth, normals, soft foreground.

net = david.load("runs/x")  # or a file of weights, an ONNX file, a name on the Hugging Face hub
out = net.predict(rgb)      # out.relative_depth, out.normals, out.alpha
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from david.model.predict.fields import Fields
    from david.model.predict.predictor import Predictor
    from david.train.use.load import load

__version__ = "0.1.0"
__all__ = ["Fields", "Predictor", "__version__", "load"]

_HOME = {
    "load": "david.train.use.load:load",
    "Predictor": "david.model.predict.predictor:Predictor",
    "Fields": "david.model.predict.fields:Fields",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from david.pack.lazy import load

    return load(_HOME[name])
