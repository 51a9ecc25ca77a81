"""Samples by position, whatever the number of shards, threads and files that may be open."""

import errno
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from david.pack import BadSample, DavidError, read
from david.pipeline.config import DataConfig
from david.pipeline.engines import images
from david.pipeline.loader import Loader
from david.pipeline.reading import _members, members, shard_files
from david.pipeline.reading.reader import Reader

Tiny = Callable[[Path, list[int]], Path]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_bounded_number_of_shards_stays_open_and_none_closes_under_a_reader(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny(tmp_path / "set", [2] * 40)
    stored = [sample.key for sample in read(folder)]
    monkeypatch.setattr(shard_files, "OPEN_SHARDS", 3)
    gc.collect()  # what tests before left to be closed
    before = open_files()
    with closing(Reader(folder, "train")) as reader, ThreadPoolExecutor(8) as pool:
        wanted = np.random.default_rng(0).integers(0, 80, 2000).tolist()
        found = list(pool.map(lambda sample: reader.read(sample).where, wanted))
        assert all(f"({stored[sample]})" in where for sample, where in zip(wanted, found, strict=True))
        assert open_files() <= before + 3
    assert open_files() <= before


def test_a_set_of_more_shards_than_open_files_loads(tiny: Tiny, tmp_path: Path) -> None:
    folder = tiny(tmp_path / "set", [1] * 200)
    code = (
        "import sys, pathlib, resource; from david.pipeline.loader import Loader; "
        "from david.pipeline.config import DataConfig\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "with Loader(pathlib.Path(sys.argv[1]), 'train', DataConfig(threads=4), batch_size=20, seed=5) as loader:\n"
        "    print(sorted(int(one) for _ in range(10) for one in next(loader).ids) == list(range(200)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_names_are_those_that_were_packed(shards: Path) -> None:
    with closing(Reader(shards, "train")) as reader:
        assert [reader.key(one) for one in range(reader.samples)] == [one.key for one in read(shards, "train")]


def test_a_shard_that_is_gone_when_it_is_opened_again_is_named(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny(tmp_path / "set", [2] * 20)
    monkeypatch.setattr(shard_files, "OPEN_SHARDS", 3)
    with Loader(folder, "train", DataConfig(threads=2), batch_size=4, seed=5) as loader:
        for _ in range(20):  # two epochs: each shard was read
            next(loader)
        (folder / "train-000007.tar").unlink()
        with pytest.raises(DavidError, match=r"train-000007\.tar: the shard can't be opened \(No such file"):
            for _ in range(30):
                next(loader)


def test_a_disk_that_fails_is_named_with_shard_and_sample(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Loader(shards, "train", DataConfig(), batch_size=4, seed=5) as loader:
        next(loader)
        monkeypatch.setattr(_members, "load", broken)
        with pytest.raises(BadSample, match=r"train-00000\d\.tar, sample \d+: can't be read \(Input/output error\)"):
            for _ in range(20):
                next(loader)


def test_reads_that_bring_less_than_was_asked_for_change_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over FUSE or a network, or of more than 2 GB."""
    folder, preadv = tiny(tmp_path / "set", [3, 2]), os.preadv  # of headers; members are read in C

    def keys_and_bytes() -> list[tuple[str, bytes, dict[str, bytes]]]:
        with closing(Reader(folder, "train")) as reader:
            read = [(reader.key(place), reader.read(place)) for place in range(reader.samples)]
            return [
                (key, bytes(one.rgb), {name: bytes(data) for name, data in one.planes.items()}) for key, one in read
            ]

    whole = keys_and_bytes()
    monkeypatch.setattr(os, "preadv", lambda handle, into, offset: preadv(handle, [into[0][:100]], offset))
    monkeypatch.setattr(members, "AT_ONCE", 100)
    assert keys_and_bytes() == whole


class Panic(BaseException):
    """What a thread can end with that is no Exception, such as a panic in a decoder written in Rust."""


@pytest.mark.parametrize("kind", [Panic, MemoryError, SystemExit])
def test_a_thread_that_dies_is_told_with_its_sample_and_never_waited_for(
    shards: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def dies(*_: object) -> None:
        raise kind("gone")

    monkeypatch.setattr(images, "decode", dies)
    before = set(threading.enumerate())
    with Loader(shards, "train", DataConfig(), batch_size=4, seed=5) as loader:
        for _ in range(2):
            with pytest.raises(kind, match="gone") as caught:
                next(loader)
            assert "in sample" in caught.value.__notes__[0]
    assert set(threading.enumerate()) <= before  # others of other tests may have ended
