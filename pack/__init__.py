"""Raw data to shards and back: `david.pack.read` gives the samples of a shard set."""

from david.pack.dataset import read
from david.pack.errors import BadSample, DavidError
from david.pack.schema import Sample

__all__ = ["BadSample", "DavidError", "Sample", "read"]
