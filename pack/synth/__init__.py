"""A small data set made here, in SynthHuman's exact layout: ray-traced figures of simple people."""

from david.pack.synth.layout import write
from david.pack.synth.scene import render

__all__ = ["render", "write"]
