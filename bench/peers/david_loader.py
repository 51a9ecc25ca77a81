"""david itself: its own shards through its own loader, mirrored and not recoloured, as the peers' are."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from david.pack.raw import archive
from david.pack.sources import synthhuman
from david.pack.work.build import build
from david.pack.work.plan import PackOptions
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.sampling.augment import AugmentConfig

FLIP = AugmentConfig(flip=0.5, brightness=0, contrast=0, saturation=0, hue=0)


def prepare(raw: Path, samples: int, folder: Path) -> int:
    chosen = folder / "raw"
    chosen.mkdir()
    for kinds in islice(synthhuman.scan(raw).values(), samples):
        for member in kinds.values():
            (chosen / Path(member.name).name).write_bytes(archive.read(member))
    manifest = build(chosen, folder / "shards", PackOptions(val_fraction=0, shard_samples=100))
    assert manifest is not None
    return sum(shard.bytes for shard in manifest.split("train"))


@contextmanager
def batches(folder: Path, batch_size: int, workers: int) -> Iterator[Iterator[Any]]:
    config = DataConfig(augment=FLIP, threads=workers)
    with Loader(folder / "shards", "train", config, batch_size=batch_size, seed=0) as loader:
        yield loader
