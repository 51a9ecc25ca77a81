"""Jobs that pack the same set, started at a barrier: what each made of it, and the set that they left.

In threads of this process (`at_once`), where samples need no decoding; or in processes (`Server`) that write what
`david pack` writes, with nothing of it replaced but the crew of workers.
"""

import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from people import made

from david.pack.errors import DavidError
from david.pack.shards import shard
from david.pack.shards.manifest import Manifest
from david.pack.synth import layout, scene
from david.pack.work import build, crew, plan, record, worker

OPTIONS = plan.PackOptions(val_fraction=0.25, shard_samples=2)
STARTS = [
    ("1/1",) * 4,
    ("1/2", "2/2"),
    ("1/8", "1/16"),
    ("1/2", "2/4", "1/2", "4/4"),
    ("1/2", "2/2", "merge", "merge"),
]
PAIRS = [("1/1", "1/1"), ("1/2", "2/2"), ("1/8", "1/16"), ("merge", "merge")]


def quick(
    shards: list[plan.ShardPlan], folder: Path, packing: plan.Packing, *, quarantine: bool, workers: int
) -> Iterator[crew.Event]:
    """A runner that writes shards in this very process, and tells errors as `crew.run` does."""
    for one in shards:
        try:
            yield crew.Event(0, worker.write_shard(one, folder, packing, quarantine=quarantine))
        except (DavidError, OSError) as error:
            yield crew.Event(0, error)
            return


def small(key: str, *_: object) -> list[bytes]:
    """In place of `worker._encode`: the members of a sample of 8 x 6 pixels, without any raw data being decoded."""
    ramp = np.linspace(90, 110, 48, dtype=np.float32).reshape(8, 6)
    normals, valid = np.tile(np.float32([0, 0, 1]), (8, 6, 1)), np.ones((8, 6), bool)
    rgb = np.full((8, 6, 3), int(key) % 251, np.uint8)
    return shard.encode(made(key, rgb, rgb[..., 0], ramp, normals, valid, valid, None), "jpeg", "lz4")


def packs(
    raw: Path, shards: Path, part: str = "1/1", options: plan.PackOptions = OPTIONS, **more: Any
) -> Callable[[], Manifest | None]:
    """A job that packs a part."""
    return lambda: build.build(raw, shards, options, runner=quick, part=build.Part.parse(part), workers=1, **more)


def merges(shards: Path) -> Callable[[], Manifest | None]:
    return lambda: build.merge(shards)


def job(word: str, raw: Path, shards: Path) -> Callable[[], Manifest | None]:
    """What a word of `STARTS` and `PAIRS` stands for."""
    return merges(shards) if word == "merge" else packs(raw, shards, word)


def understood(outcome: object) -> bool:
    """Whether a job ended as it should: with a set, without one so far, or because another is at work."""
    told = "another david pack is at work", "are missing", "nothing was packed"
    return outcome is None or isinstance(outcome, Manifest) or any(one in str(outcome) for one in told)


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


def names(folder: Path) -> set[str]:
    """Of the files in a folder that may be missing: what changes as soon as a pack begins to write there."""
    return {name for _, folders, files in os.walk(folder) for name in (*folders, *files)}


def changes(process: subprocess.Popen, folder: Path, number: int) -> bool:
    """Wait until a process has made, taken away or renamed files of a folder so many times; whether it still runs."""
    seen = names(folder)
    while number and process.poll() is None:
        time.sleep(0.001)
        now = names(folder)
        number -= now != seen
        seen = now
    return process.poll() is None


def tiny_raw(path: Path, samples: int = 8, first: int = 0, size: tuple[int, int] = (48, 36)) -> Path:
    """A zip of figures of that size. first: the number of its first sample."""
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(first, first + samples):
            for name, data in layout.encode(scene.render(0, index, "full_body", *size)).items():
                archive.writestr(name, data)
    return path


def parts_without_end(raw: Path, shards: Path) -> Path:
    """A set of which all shards are written, but not the manifest."""
    shards.mkdir(parents=True)
    note_conventions(shards)
    end = build._end
    build._end = lambda *_, **__: None  # type: ignore[assignment]
    try:
        packs(raw, shards)()
    finally:
        build._end = end
    return shards


def note_conventions(shards: Path) -> None:
    """Note that the conventions of what goes there were looked at."""
    folder = record.Record(shards).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conventions-all.json").write_text("{}")


class Server(AbstractContextManager):
    """A process that has david loaded, and forks one for each job; the jobs of a round are let go together."""

    def __enter__(self) -> "Server":
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def round(self, words: Sequence[str], raw: Path, shards: Path) -> list[str]:
        """What became of the jobs: `set`, `no set yet`, or an error's type and text."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([list(words), str(raw), str(shards)]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> None:
    for line in sys.stdin:
        words, raw, shards = json.loads(line)
        held, go = os.pipe()
        told = []
        for word in words:
            reading, writing = os.pipe()
            if os.fork() == 0:
                os.close(go)
                os.read(held, 1)  # ends once the server has closed the other end
                try:
                    made = job(word, Path(raw), Path(shards))()
                    outcome = "set" if made else "no set yet"
                except BaseException as error:
                    outcome = f"{type(error).__name__}: {error}"
                os.write(writing, outcome.encode()[:4000])
                os._exit(0)
            os.close(writing)
            told.append(reading)
        os.close(held)
        os.close(go)
        outcomes = []
        for reading in told:
            with os.fdopen(reading, "rb") as pipe:
                outcomes.append(pipe.read().decode(errors="replace") or "ended without a word")
            os.wait()
        print(json.dumps(outcomes), flush=True)


if __name__ == "__main__":
    _serve()
