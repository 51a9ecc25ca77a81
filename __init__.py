"""david: high-throughput training of human-centric dense prediction: relative depth, normals, soft foreground."""

__version__ = "0.1.0"
