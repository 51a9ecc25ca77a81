"""What command lines say of where shards are."""

from pathlib import Path
from typing import Annotated

import typer

_HELP = (
    "A shard set, as `david pack` made it: a folder, or an address (https://, s3://, gs://, hf://). Repeat it for "
    "several: one epoch over all, or shares by --set data.weights=3,1."
)
ShardNames = Annotated[list[str], typer.Option("--shards", metavar="FOLDER|URL", help=_HELP)]
MaybeShardNames = Annotated[
    list[str] | None,
    typer.Option(
        "--shards", metavar="FOLDER|URL", help=f"{_HELP} A run that goes on knows where they were when it began."
    ),
]
TrainedOn = Annotated[
    list[str] | None,
    typer.Option(
        "--shards",
        metavar="FOLDER|URL",
        help="Its shards, where they have moved; repeat it as then.  \\[default: as the run says]",
    ),
]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="A folder on a local disk for shards that come from an address.")
]
CacheGB = Annotated[float, typer.Option("--cache-gb", min=0, help="What all shards in it may take together.")]
DEFAULT_CACHE_GB = 100.0
