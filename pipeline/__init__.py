"""Shards to batches, in an order and with draws that only seed and step decide.

    from david.pipeline import DataConfig, Loader

    with Loader("/shards", "train", DataConfig(height=512, width=384), batch_size=32, seed=0) as loader:
        for batch in loader:  # endless, shuffled and augmented; see `Batch` for shapes and dtypes
            depth = batch.targets["depth"]
            batch.image, depth.value, depth.valid

The names are loaded when they are first asked for: a loader needs torch, the command line's help does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from david.pipeline.batch import Batch, Target
    from david.pipeline.config import DataConfig
    from david.pipeline.loader import Loader
    from david.pipeline.sampling.augment import AugmentConfig

__all__ = ["AugmentConfig", "Batch", "DataConfig", "Loader", "Target"]

HOMES = {
    "AugmentConfig": "sampling.augment",
    "Batch": "batch",
    "DataConfig": "config",
    "Loader": "loader",
    "Target": "batch",
}


def __getattr__(name: str) -> Any:
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
