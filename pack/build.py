"""`david pack RAW SHARDS`: raw data in, a shard set out (see `schema.py`)."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from david.pack import geometry, shard
from david.pack.errors import BadSample, DavidError
from david.pack.geometry import Geometry
from david.pack.manifest import NAME, Manifest, Shard
from david.pack.plan import PackOptions, ShardPlan, describe_raw, plan, scan
from david.pack.schema import SPLITS
from david.pack.sources import synthhuman

Progress = Callable[[int, int], None]


def write_shard(one: ShardPlan, folder: Path, options: PackOptions) -> tuple[ShardPlan, Shard, list[Geometry]]:
    """Write one shard of the plan; returns it as the manifest lists it, and what the geometry check saw."""
    seen = []

    def encoded() -> Iterator[tuple[str, list[bytes]]]:
        for key, kinds in one.samples:
            sample = synthhuman.load(key, kinds)
            try:
                seen.append(geometry.check(sample))
            except BadSample as error:
                raise BadSample(f"{kinds['rgb'].archive}, {error.where}", error.reason) from error
            yield key, shard.encode(sample, options.image, options.compression)

    written = shard.write(folder / f"{one.name}.tar", encoded(), options.image, options.compression)
    return one, written, seen


def build(
    raw: Path,
    shards: Path,
    options: PackOptions | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack `raw` into the folder `shards` and return its manifest.

    workers: processes, by default one a core; progress: called with (samples done, samples in all).
    Raises DavidError where there is nothing to pack or a shard set is there already, BadSample for the first sample
    that can't be packed."""
    options = options or PackOptions()
    if (shards / NAME).exists():
        raise DavidError(f"{shards}: holds a shard set already; pack into another folder, or remove this one first")
    found = scan(raw)
    plans = plan(found, options)
    shards.mkdir(parents=True, exist_ok=True)
    workers = min(workers or os.cpu_count() or 1, len(plans))
    written: dict[str, dict[str, Shard]] = {split: {} for split in SPLITS}
    seen: dict[str, list[Geometry]] = {}
    for one, row, figures in _run(plans, shards, options, workers):
        written[one.split][one.name] = row
        seen[one.name] = figures
        if progress:
            progress(sum(map(len, seen.values())), len(found))
    manifest = Manifest(
        folder=shards,
        options=options.as_json(),
        splits={split: tuple(row for _, row in sorted(rows.items())) for split, rows in written.items()},
        raw=describe_raw(found),
        geometry=geometry.summary([figure for _, figures in sorted(seen.items()) for figure in figures]),
        libraries={
            name: version(name) for name in ("david-train", "opencv-python-headless", "lz4", "zstandard", "openexr")
        },
    )
    manifest.write()
    return manifest


def _run(
    plans: list[ShardPlan], folder: Path, options: PackOptions, workers: int
) -> Iterator[tuple[ShardPlan, Shard, list[Geometry]]]:
    """Write all shards, in `workers` processes; results in the order in which they are done."""
    if workers == 1:
        yield from (write_shard(one, folder, options) for one in plans)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        futures = [pool.submit(write_shard, one, folder, options) for one in plans]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)
