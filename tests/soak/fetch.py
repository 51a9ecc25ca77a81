"""Downloads into one folder, and readers of one cache, begun together in processes of their own, at length.

    PYTHONPATH=tests python tests/soak/fetch.py downloads|caches [ROUNDS]

    downloads   two and four at a barrier: one brings the zip, the others say that it is at work, or find it      (200)
    caches      two and four at a barrier, with room for all shards or for a few, one damaged: all read all bytes (200)

Not part of the suite, which does the same in threads, a few times. A fault ends it with an error.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

from starters import small
from zip_server import PART_BYTES, ZIP, assert_whole, make_zip, serving

from david.pack.errors import DavidError
from david.pack.fetch.download import download
from david.pack.fetch.fetcher import DownloadOptions
from david.pack.shards import manifest, shard
from david.pipeline.reading.cache import Cache, mount

STARTERS = 2, 4
SHARDS, ROOM = 6, 3  # shards of a set, and for how many of them a small cache has room
together: Barrier


def prepare(barrier: Barrier) -> None:
    global together
    together = barrier


def bring(url: str, out: Path) -> set[str]:
    """A download; the names that it found or brought."""
    together.wait()
    return set(download(out, [ZIP], DownloadOptions(url, connections=2, part_bytes=PART_BYTES)))


def look(url: str, root: Path, limit_bytes: int, seed: int) -> int:
    """Reads all shards of a set twice, through a cache that others share; how many were damaged there."""
    warnings.simplefilter("ignore")  # of what was damaged
    together.wait()
    folder, mended = mount(url, root, limit_bytes), 0
    listed, cache = list(manifest.load(folder).split("train")) * 2, Cache(folder)
    random.Random(seed).shuffle(listed)
    for one in listed:
        while hashlib.sha256(read(cache, one)).hexdigest() != one.sha256:
            mended += cache.mend(one)
    cache.close()
    return mended


def read(cache: Cache, one: manifest.Shard) -> bytes:
    opened = cache.open(one)
    return os.pread(opened.handle, one.bytes, 0)


@contextmanager
def starters(count: int) -> Iterator[Callable[..., list]]:
    """Calls that each of so many processes makes, all at once: what each gave or raised."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["zip_server", "starters", "david.pack.fetch.download", "david.pipeline.reading.cache"]
    )
    with ProcessPoolExecutor(count, context, prepare, (context.Barrier(count),)) as pool:

        def all_at_once(call: Callable, *arguments: object, seeds: bool = False) -> list:
            futures = [pool.submit(call, *arguments, *([seed] if seeds else [])) for seed in range(count)]
            return [future.exception() or future.result() for future in futures]

        yield all_at_once


def downloads(folder: Path, rounds: int) -> str:
    zips, found = {ZIP: make_zip(folder / ZIP, 20, 30_000, seed=0)}, 0
    with serving(zips) as server:
        for count in STARTERS:
            with starters(count) as all_at_once:
                for number in range(rounds):
                    out = folder / f"{count} {number}"
                    outcomes = all_at_once(bring, server.url, out)
                    busy = [isinstance(one, DavidError) and "is at work there" in str(one) for one in outcomes]
                    assert all(told or one == {ZIP} for told, one in zip(busy, outcomes, strict=True)), outcomes
                    assert not all(busy), outcomes
                    assert_whole(out, server)
                    shutil.rmtree(out)
                    found += len(busy) - sum(busy) - 1
    return f"{rounds} rounds of {STARTERS} downloads: whole each time; {found} found all done, the others were refused"


def caches(folder: Path, rounds: int) -> str:
    stored = folder / "stored"
    stored.mkdir()
    listed = tuple(
        shard.write(stored / f"train-{number:06}.tar", [(f"{number}", small(f"{number}"))], "jpeg", "lz4")
        for number in range(SHARDS)
    )
    manifest.Manifest(stored, {"image": "jpeg", "compression": "lz4"}, {"train": listed}).write()
    largest, chance, mended = max(one.bytes for one in listed), random.Random(0), 0
    with serving({path.name: path.read_bytes() for path in stored.iterdir()}) as server:
        for count in STARTERS:
            with starters(count) as all_at_once:
                for number in range(rounds):
                    root = folder / f"{count} {number}" / "cache"
                    room = largest * (SHARDS if number % 2 else ROOM)
                    if number % 2:
                        server.requests.clear()
                    for damaged in (False, True):
                        if damaged and (tars := sorted(root.glob("*/*.tar"))):
                            chance.choice(tars).write_bytes(bytes(listed[0].bytes))
                        outcomes = all_at_once(look, server.url, root, room, seeds=True)
                        assert all(isinstance(one, int) for one in outcomes), outcomes
                        assert not list(root.rglob(".*.part")), list(root.rglob(".*.part"))
                        if number % 2 and not damaged:  # each was asked about, then for, once
                            asked = [name for name, _, _ in server.requests if name.endswith(".tar")]
                            assert len(asked) == 2 * SHARDS, asked
                        mended += sum(outcomes)
                    shutil.rmtree(root.parent)
    return f"{rounds} rounds of {STARTERS} readers, cold and with a damaged shard ({mended} mended): the right bytes"


ROUNDS = {"downloads": downloads, "caches": caches}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        print(ROUNDS[sys.argv[1]](Path(made), int(sys.argv[2]) if len(sys.argv) > 2 else 200))
