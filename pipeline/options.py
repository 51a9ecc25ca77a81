"""What command lines say of where shards are."""

from pathlib import Path
from typing import Annotated

import typer

ShardNames = Annotated[
    list[str],
    typer.Option(
        "--shards",
        metavar="FOLDER|URL",
        help="A shard set, as `david pack` made it: a folder, or an address (https://, s3://, gs://, hf://). Repeat it "
        "for several: one epoch over all, or shares by --set data.weights=3,1.",
    ),
]
CacheFolder = Annotated[
    Path | None, typer.Option("--cache", help="A folder on a local disk for shards that come from an address.")
]
CacheGB = Annotated[float, typer.Option("--cache-gb", min=0, help="What all shards in it may take together.")]
DEFAULT_CACHE_GB = 100.0
