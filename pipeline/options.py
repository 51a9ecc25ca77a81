"""What command lines say of where shards are."""

from pathlib import Path
from typing import Annotated

import typer

ShardSet = Annotated[str, typer.Argument(metavar="SHARDS", help="A shard set: a folder or an address.")]
MaybeShardNames = Annotated[
    list[str] | None,
    typer.Option("--shards", metavar="DIR|URL", help="A shard set, with labels as SHARDS+SIDECAR; repeatable."),
]
TrainedOn = Annotated[
    list[str] | None,
    typer.Option(
        "--shards",
        metavar="DIR|URL",
        help="The run's shard sets, where they have moved; repeatable.",
        show_default="as the run says",
    ),
]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", metavar="DIR", help="Local folder for shards that come from an address.")
]
CacheGB = Annotated[
    float, typer.Option("--cache-gb", metavar="GB", min=0, help="What all shards in the cache may take together.")
]
DEFAULT_CACHE_GB = 100.0
