"""`david bench scale`."""

from typing import Annotated

import typer
from rich.console import Console

from david.bench.keep import keep
from david.bench.options import RESULTS, Out
from david.pack.errors import DavidError
from david.pack.options import AsJson

console = Console(stderr=True)


def scale(
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=1, help="Samples of the set.")] = 3_000_000,
    shard: Annotated[int, typer.Option("--shard", metavar="N", min=1, help="Samples of a shard.")] = 1000,
    ranks: Annotated[int, typer.Option("--ranks", metavar="N", min=1, help="Ranks of all nodes.")] = 1024,
    each: Annotated[int, typer.Option("--each", metavar="N", min=1, help="Samples of a batch for each rank.")] = 32,
    cached: Annotated[
        list[float] | None,
        typer.Option("--cached", metavar="N", min=0.001, max=1, help="Part of the set that a node caches; repeatable.",
                     show_default="several"),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=2, help="Epochs whose fetching counts.")] = 3,
    out: Out = RESULTS,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Compute what sets and clusters of any size would ask.

    Time and memory to the first batch, how well batches are mixed, and what a node's cache fetches by its size: by
    david's own order, prefetch and cache on a manifest that is made up.
    """
    from david.bench.scale import suite
    from david.bench.scale.made_up import Scale

    chosen = Scale(samples - samples % shard, shard, ranks, each)
    if chosen.samples < chosen.batch_size:
        raise DavidError(
            f"--samples {samples}: {ranks} ranks of {each} take batches of {chosen.batch_size}, more than the whole "
            f"shards of {shard} hold; take more samples, or fewer ranks"
        )
    keep(lambda: suite.measure(chosen, epochs, tuple(cached or suite.SHARES), console), out, as_json)
