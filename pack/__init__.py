"""Raw data to shards and back: `david.pack.read` gives the samples of a shard set.

for s in david.pack.read("/shards", split="train"):
    s.key, s.rgb, s.depth_m
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from david.pack.errors import BadSample, DavidError
    from david.pack.shards.dataset import read
    from david.pack.shards.sample import Sample

__all__ = ["BadSample", "DavidError", "Sample", "read"]
HOMES = {"read": "shards.dataset", "BadSample": "errors", "DavidError": "errors", "Sample": "shards.sample"}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is asked for: whoever needs the errors alone waits for no NumPy."""
    if name in HOMES:
        return getattr(import_module(f"david.pack.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
