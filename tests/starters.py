"""Jobs that pack the same set, started at a barrier: what each made of it, and the set that they left."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from david.pack import Sample, build, crew, plan, shard, worker
from david.pack.manifest import Manifest

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=2)


def quick(
    shards: list[plan.ShardPlan], folder: Path, options: plan.PackOptions, *, quarantine: bool, workers: int
) -> Iterator[crew.Event]:
    """An engine that writes shards here, of what `small` gives for samples."""
    for one in shards:
        yield crew.Event(0, worker.write_shard(one, folder, options, quarantine=quarantine))


def small(key: str, *_: object) -> list[bytes]:
    """In place of `worker._encode`: the members of a sample of 8 x 6 pixels, without any raw data being decoded."""
    ramp = np.linspace(90, 110, 48, dtype=np.float32).reshape(8, 6)
    normals, valid = np.tile(np.float32([0, 0, 1]), (8, 6, 1)), np.ones((8, 6), bool)
    rgb = np.full((8, 6, 3), int(key) % 251, np.uint8)
    return shard.encode(Sample(key, rgb, rgb[..., 0], ramp, normals, valid, valid, None), "jpeg", "lz4")


def packs(
    raw: Path, shards: Path, part: str = "1/1", options: plan.PackOptions = OPTIONS, **more: Any
) -> Callable[[], Manifest | None]:
    """A job that packs a part."""
    return lambda: build.build(raw, shards, options, engine=quick, part=build.Part.parse(part), workers=1, **more)


def merges(shards: Path) -> Callable[[], Manifest | None]:
    return lambda: build.merge(shards)


def at_once(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each job gives or raises, all begun together in threads of this process."""
    barrier, outcomes = threading.Barrier(len(jobs)), [None] * len(jobs)

    def work(number: int) -> None:
        barrier.wait()
        try:
            outcomes[number] = jobs[number]()
        except BaseException as error:
            outcomes[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
