"""Order, prefetch and cache at sizes that no disk here holds: a row for each size."""

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from rich.console import Console

from david.bench.result import Result
from david.bench.scale import made_up
from david.bench.scale.caching import KEPT, READ, Needs, fetched
from david.bench.scale.made_up import KINDS, SAMPLE_BYTES, Scale, order_of
from david.pack import tables
from david.pipeline.config import DataConfig

WINDOWS = (4, 16, 64)  # shards that are mixed at a time
SHARES = (0.02, 0.1, 0.25, 0.5, 0.75, 1.0)  # of the set, that a node's cache holds
EPOCHS = 3  # of which the first fills the cache, and the others are measured
NODE_RANKS = 8
Figures = dict[str, dict[str, Any]]


def measure(scale: Scale, epochs: int, shares: tuple[float, ...], console: Console) -> Result:
    """console: hears what is computed"""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name, console.status("computing") as status:
        scale.write(Path(name))
        for shuffle in ("full", "blocks"):
            status.update(f"the first batch, {shuffle}")
            figures[f"first batch, {shuffle}"] = made_up.first_batch(Path(name), scale, DataConfig(shuffle=shuffle))
        status.update("entropy")
        figures |= mixing(scale)
        for share in shares:
            status.update(f"a cache of {share:.0%}")
            figures[f"cache of {share:.0%}"] = caching(scale, share, epochs)
    drawn = tables.table("computed", "", "unit", title=title(scale), right=("",))
    for name, quantities in figures.items():
        drawn.add_row(name)
        for quantity, one in quantities.items():
            drawn.add_row(f"  {quantity}", f"{one['median']:,.4g}", one["unit"])
    about = {
        **{"samples": scale.samples, "shard_samples": scale.shard_samples, "ranks": scale.ranks},
        **{"batch_size": scale.batch_size, "node_ranks": NODE_RANKS, "epochs": epochs, "window": DataConfig().window},
        "data": {"folder": "a manifest without shards", "sample_bytes": SAMPLE_BYTES, "kinds": KINDS},
    }
    return Result("scale", figures, drawn, sentence(figures, shares), about)


def title(scale: Scale) -> str:
    return (
        f"{scale.samples:,} samples in shards of {scale.shard_samples:,}, {scale.ranks:,} ranks, batches of "
        f"{scale.batch_size:,}"
    )


def mixing(scale: Scale) -> Figures:
    """Entropy of the kinds in a batch of a set that is stored kind by kind: the worst case."""
    orders = {"order, stored": None, "order, full": DataConfig()}
    orders |= {f"order, window {one}": DataConfig(shuffle="blocks", window=one) for one in WINDOWS}
    return {
        name: {"entropy": {"unit": "bits of the kinds a batch", "median": made_up.entropy(scale, config)}}
        for name, config in orders.items()
    }


def caching(scale: Scale, share: float, epochs: int) -> dict[str, Any]:
    """What a node fetches once its cache is full, by what gives way; a sample is one that the node trains on."""
    its = order_of(scale, DataConfig(shuffle="blocks"))
    steps = its.batches_per_epoch
    needs = lru_cache(maxsize=None)(Needs(its).__call__)
    nodes = max(1, scale.ranks // NODE_RANKS)
    found = {}
    for by in (KEPT, READ):
        later = sum(fetched(scale, needs, steps * epochs, share, by)[steps:]) / max(1, epochs - 1)
        found[f"set, {by}"] = {"unit": "of the set an epoch", "median": later / len(scale.counts)}
        each = later * scale.shard_bytes * nodes / (steps * scale.batch_size)
        found[f"sample, {by}"] = {"unit": "MB a sample of the node", "median": each / 1e6}
    return found


def sentence(figures: Figures, shares: tuple[float, ...]) -> str:
    first, mixed = figures["first batch, full"], figures["order, window 16"]["entropy"]["median"]
    gains = [
        f"{by[f'set, {READ}']['median']:.2f} and {by[f'set, {KEPT}']['median']:.2f} with {share:.0%}"
        for share in shares
        if (by := figures[f"cache of {share:.0%}"])
    ]
    full, kept = figures["order, full"]["entropy"]["median"], first["kept"]["median"]
    return (
        f"The first samples are known after {first['first']['median']:.2g} CPU s with {kept:.0f} MB. "
        f"Windows of 16 shards mix {mixed:.2f} bits of {full:.2f}. Of the set a node fetches each epoch, by last "
        f"read and by next use: {', '.join(gains)} of it cached."
    )
