"""A few drawn samples as a shard set, made in this process: what decoding and stepping are tried on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from david.pack.shards import manifest, shard
from david.pack.synth import render

SAMPLES, SIZE = 8, (192, 144)  # rows and columns of a sample
IMAGE, COMPRESSION = "jpeg", "lz4"


@contextmanager
def drawn(samples: int = SAMPLES) -> Iterator[Path]:
    """The folder of the set, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="david-doctor-") as folder:
        made = [render(0, number, None, *SIZE) for number in range(samples)]
        encoded = [(one.key, shard.encode(one, IMAGE, COMPRESSION)) for one in made]
        listed = shard.write(Path(folder) / "train-000000.tar", encoded, IMAGE, COMPRESSION)
        codecs = {"image": IMAGE, "compression": COMPRESSION}
        manifest.Manifest(Path(folder), codecs, {"train": (listed,)}).write()
        yield Path(folder)
