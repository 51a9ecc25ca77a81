"""Samples as Microsoft publishes SynthHuman: PNG, EXR and text members in zips, the same bytes every time.

The bytes depend on (seed, samples, zips) and the versions of the libraries, not on the process that makes them.
"""

import io
import json
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import OpenEXR

from david.pack import machine
from david.pack.errors import DavidError
from david.pack.files import whole
from david.pack.shards.sample import Sample
from david.pack.shards.schema import SCENARIOS
from david.pack.sources.synthhuman import BACKGROUND, SCENARIO_ENDS
from david.pack.synth.scene import render

ENDS = "scenario_ends"  # in the comment of each zip that is drawn, and of no other
LEAST_FOR_PROCESSES = 48  # fewer samples are made sooner than processes are started
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]  # fmt: skip


def scenario_ends(samples: int) -> tuple[int, ...]:
    """The first id after each of SCENARIOS, in the proportions of the published set."""
    return tuple(round(samples * end / SCENARIO_ENDS[-1]) for end in SCENARIO_ENDS)


def _png(picture: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8, blue first."""
    return cv2.imencode(".png", picture, _FAST)[1].tobytes()


def _exr(channels: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels, num_threads=0).write(file)
    return file.getvalue()


def encode(sample: Sample) -> dict[str, bytes]:
    """The members of a sample, name -> bytes; without intrinsics there is no cam member."""
    x, y, z = (np.ascontiguousarray(sample.normals[..., axis]) for axis in range(3))
    members = {
        f"rgb_{sample.key}.png": _png(cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR)),
        f"alpha_{sample.key}.png": _png(sample.alpha),
        f"depth_{sample.key}.exr": _exr({"Y": np.where(sample.depth_valid, sample.value("depth"), BACKGROUND)}),
        f"normal_{sample.key}.exr": _exr({"B": x, "G": y, "R": z}),
    }
    if sample.intrinsics is not None:
        rows = (" ".join(f"{number:.9g}" for number in row) for row in sample.intrinsics.tolist())
        members[f"cam_{sample.key}.txt"] = "".join(f"{row}\n" for row in rows).encode()
    return members


def _make(seed: int, samples: int, index: int) -> dict[str, bytes]:
    scenario = next(name for name, end in zip(SCENARIOS, scenario_ends(samples), strict=True) if index < end)
    return encode(render(seed, index, scenario))


def made(
    make: Callable[[int], dict[str, bytes]], samples: int, workers: int | None = None
) -> Iterator[dict[str, bytes]]:
    """The members of all samples in the order of ids, each by `make`; with several workers, processes, a few are made
    ahead of their turn. workers: all cores where left out, one where samples are few"""
    if workers is None:
        workers = (os.cpu_count() or 1) if samples >= LEAST_FOR_PROCESSES else 1
    if workers == 1:
        yield from map(make, range(samples))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_settle) as pool:
        ahead: deque[Future[dict[str, bytes]]] = deque()
        try:
            for index in range(samples):
                ahead.append(pool.submit(make, index))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _settle() -> None:
    """Once in each process of the pool."""
    cv2.setNumThreads(1)
    machine.keep_heap()


def write(
    out: Path,
    samples: int = 300,
    zips: int = 3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> None:
    """Write `samples` samples into `zips` zips under `out`; `progress` is called with (done, total).

    workers: processes, all cores where left out. Raises DavidError where `out` holds other zips or the numbers don't
    go together."""
    if samples < 1 or not 1 <= zips <= samples:
        raise DavidError(f"{samples} samples can't fill {zips} zips: ask for at least one sample and one for each zip")
    require_seed(seed)
    each = -(-samples // zips)
    paths = [zip_path(out, number) for number in range(-(-samples // each))]
    require_no_other(out, paths)
    out.mkdir(parents=True, exist_ok=True)
    members = made(partial(_make, seed, samples), samples, workers)
    for number, path in enumerate(paths):
        with zipped(path, scenario_ends(samples)) as add:
            for index in range(number * each, min((number + 1) * each, samples)):
                add(next(members))
                if progress is not None:
                    progress(index + 1, samples)


def zip_path(out: Path, number: int) -> Path:
    return out / f"SynthHuman_{number:04d}.zip"


def require_seed(seed: int) -> None:
    """Raise DavidError for a seed that is none."""
    if seed < 0:
        raise DavidError(f"seed {seed}: expected 0 or more")


def require_no_other(out: Path, paths: list[Path]) -> None:
    """Raise DavidError where a folder holds other zips than those that are to be written, or one that was not drawn: a
    downloaded one has the same name."""
    others = sorted({path.name for path in out.glob("*.zip")} - {path.name for path in paths})
    others += [path.name for path in paths if path.exists() and not _drawn(path)]
    if others:
        raise DavidError(f"{out}: holds {others[0]} of another set: name an empty folder, or delete it")


def _drawn(path: Path) -> bool:
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return archive.comment.startswith(f'{{"{ENDS}"'.encode())
    return False


@contextmanager
def zipped(path: Path, ends: tuple[int, ...]) -> Iterator[Callable[[dict[str, bytes]], None]]:
    """A zip that is whole or absent, as a function that adds a sample's members to it; ends: see `scenario_ends`."""
    with whole(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = json.dumps({ENDS: ends}).encode()

        def add(members: dict[str, bytes]) -> None:
            for name, data in members.items():
                archive.writestr(_entry(name), data)

        yield add


def _entry(name: str) -> zipfile.ZipInfo:
    """A member's header without the time, the system or the mode of the process that writes it."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry
