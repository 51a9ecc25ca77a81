"""Shard sets at an address: the same batches, from a bounded cache that a machine shares, or a named error."""

import errno
import fcntl
import gc
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import power_cut
import pytest
from batches import bits
from starters import at_once

from david.pack import DavidError
from david.pack.fetch import remote
from david.pack.shards import index, manifest
from david.pipeline.config import DataConfig
from david.pipeline.loader import Loader
from david.pipeline.reading import cache, origin, sets
from david.pipeline.reading.reader import Reader

Tiny = Callable[[Path, list[int]], Path]
LARGE = 10**9
ROUNDS = 2  # tests/soak/fetch.py does many
CONFIG = DataConfig(height=16, width=12, threads=2)
BLOCKS = DataConfig(height=16, width=12, threads=2, shuffle="blocks", window=2)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves a folder on this machine, and misbehaves as told. asked: how often each file was asked for from its
    beginning; drop: bytes after which a connection ends; changed: how many answers have a wrong byte, by file;
    ranges: whether parts are served; pause_s: before each answer; stall_s: in the midst of each, until `stalled`"""

    daemon_threads = allow_reuse_address = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.asked = folder, Counter[str]()
        self.drop, self.ranges, self.pause_s, self.stall_s = 0, True, 0.0, 0.0
        self.stalled = threading.Event()
        self.changed: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        time.sleep(self.server.pause_s)
        try:
            data = bytearray((self.server.folder / name).read_bytes())
        except OSError:
            self.send_error(404)
            return
        size, wanted = len(data), re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        probe = wanted is not None and wanted[0] == "bytes=0-0"
        if wanted and self.server.ranges:
            start, stop = int(wanted[1]), int(wanted[2] or size - 1) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        else:
            start, stop = 0, size
            self.send_response(200)
        if not probe:
            self.server.asked[name] += start == 0
            if self.server.changed[name] > 0:
                self.server.changed[name] -= 1
                data[size // 2] ^= 1
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        body = data[start:stop]
        if self.server.drop and not probe and len(body) > self.server.drop:
            self.wfile.write(body[: self.server.drop])
            self.close_connection = True
            return
        self.wfile.write(body[:50])
        if len(body) > 50:
            self.server.stalled.wait(self.server.stall_s)
            self.wfile.write(body[50:])

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stored(tiny: Tiny, tmp_path: Path) -> Path:
    """A set of 10 shards."""
    return tiny(tmp_path / "stored", [5, 6, 7, 5, 6, 7, 5, 6, 7, 6])


@pytest.fixture
def server(stored: Path) -> Iterator[Server]:
    with serving(stored) as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "FIRST_PAUSE_S", 0.01)


def seen(folder: Path, steps: int, config: DataConfig = CONFIG, **arguments: Any) -> list[bytes]:
    with Loader(folder, "train", config, **{"batch_size": 6, "seed": 3, **arguments}) as loader:
        batches = [next(loader) for _ in range(steps)]
    return [b"".join([batch.ids.numpy().tobytes(), *bits(batch).values()]) for batch in batches]


def left_over(root: Path) -> list[Path]:
    return list(root.rglob(".*.part"))


def taken(root: Path) -> int:
    """Bytes of all shards in a cache, at most: one may give way to another meanwhile."""
    total = 0
    for path in root.rglob("*.tar"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("drop", [0, 7000])
def test_batches_are_those_of_the_set_itself_even_where_connections_drop(
    server: Server, stored: Path, tmp_path: Path, ranges: bool, drop: int
) -> None:
    if drop and not ranges:
        drop = 10**6  # what begins again after each break never gets further than the break
    server.ranges, server.drop = ranges, drop
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    assert seen(folder, 12) == seen(stored, 12)
    assert not left_over(tmp_path / "cache")
    for path in folder.glob("*.tar"):
        assert path.read_bytes() == (stored / path.name).read_bytes()
    tars = {name: times for name, times in server.asked.items() if name.endswith(".tar")}
    assert set(tars.values()) == {1}
    assert seen(cache.mount(server.url, tmp_path / "cache", LARGE), 12) == seen(stored, 12)
    assert {name: times for name, times in server.asked.items() if name.endswith(".tar")} == tars


def test_a_cache_smaller_than_the_set_is_never_overfull_and_fetches_each_window_once(
    server: Server, stored: Path, tmp_path: Path
) -> None:
    sizes = [shard.bytes for shard in manifest.load(stored).split("train")]
    limit = 5 * max(sizes)
    folder = cache.mount(server.url, tmp_path / "cache", limit)
    expected = seen(stored, 30, BLOCKS)
    most = 0
    with Loader(folder, "train", BLOCKS, batch_size=6, seed=3) as loader:
        for step in range(30):
            batch = next(loader)
            assert batch.ids.numpy().tobytes() == expected[step][: 8 * 6]
            most = max(most, taken(tmp_path / "cache"))
            time.sleep(0.02)
    assert 0 < most <= limit
    assert taken(tmp_path / "cache") <= limit
    assert not left_over(tmp_path / "cache")
    fetched = sum(times for name, times in server.asked.items() if name.endswith(".tar"))
    assert fetched <= 10 * 3 + 5  # three epochs and what is ahead


def test_a_full_shuffle_over_a_cache_that_is_too_small_is_refused_with_numbers_and_the_remedy(
    server: Server, tmp_path: Path
) -> None:
    folder = cache.mount(server.url, tmp_path / "cache", 100_000)
    with pytest.raises(DavidError, match=r"--cache-gb 0\.0001: data\.shuffle=full.*give --cache-gb .*shuffle=blocks"):
        seen(folder, 1)
    folder = cache.mount(server.url, tmp_path / "cache", 20_000)
    with pytest.raises(DavidError, match=r"data\.shuffle=blocks.* a data\.window smaller than 2"):
        seen(folder, 1, BLOCKS)


def test_folders_and_addresses_are_named_together(server: Server, stored: Path, tmp_path: Path) -> None:
    folders = sets.located([str(stored), server.url], tmp_path / "cache", 1)
    assert folders[0] == stored and folders[1].parent == tmp_path / "cache"
    assert sets.load(folders).samples("train") == 2 * sets.load(stored).samples("train")
    assert sets.located([str(stored)], None, 1) == (stored,)
    noted = json.loads(json.dumps(sets.places(folders)))
    assert sets.at(noted) == folders and sets.at(noted, tmp_path / "other")[1].parent == tmp_path / "other"
    with pytest.raises(DavidError, match=r"127\.0\.0\.1.* kept on a local disk .* add --cache FOLDER"):
        sets.located([str(stored), server.url], None, 1)


def test_wrong_bytes_never_reach_the_cache(server: Server, stored: Path, tmp_path: Path) -> None:
    server.changed["train-000004.tar"] = 1  # once: fetched again
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    assert seen(folder, 10) == seen(stored, 10)
    shutil.rmtree(tmp_path / "cache")
    server.changed["train-000004.tar"] = 1000
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    with pytest.raises(DavidError, match=r"train-000004\.tar: came 2 times with other bytes .*SHA-256 [0-9a-f]{64}"):
        seen(folder, 10)
    assert not (folder / "train-000004.tar").exists() and not left_over(folder)
    server.changed.clear()
    assert seen(folder, 10) == seen(stored, 10)


def test_what_is_not_there_is_named(server: Server, stored: Path, tmp_path: Path) -> None:
    with pytest.raises(DavidError, match=r"127\.0\.0\.1:\d+/nothing/dataset\.json: the server answers 404"):
        cache.mount(f"{server.url}/nothing", tmp_path / "cache", LARGE)
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    (stored / "train-000002.tar").unlink()
    with pytest.raises(DavidError, match=r"train-000002\.tar: the server answers 404"):
        seen(folder, 10)
    (stored / "train-000002.tar").write_bytes(b"short")
    with pytest.raises(DavidError, match=r"train-000002\.tar: has 5 bytes there, the manifest lists \d+"):
        seen(folder, 10)
    (stored / "dataset.json").write_text("{}")
    with pytest.raises(DavidError, match=r"127\.0\.0\.1:\d+: no shards there"):
        cache.mount(server.url, tmp_path / "cache", LARGE)
    with pytest.raises(DavidError, match="xyz://a/b: not an address that can be opened"):
        cache.mount("xyz://a/b", tmp_path / "cache", LARGE)
    assert not left_over(tmp_path / "cache")


def test_a_full_disk_is_one_clear_error_and_leaves_nothing_behind(
    server: Server, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    reserve, calls = os.posix_fallocate, Counter[str]()

    def full(*arguments: int) -> None:
        calls["all"] += 1
        if calls["all"] > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        reserve(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DavidError, match=r"train-\d+\.tar: can't be kept there \(No space left on device\); free some"):
        seen(folder, 10)
    assert len(list(folder.glob("*.tar"))) <= 3 and not left_over(folder)
    monkeypatch.undo()
    assert seen(folder, 10) == seen(stored, 10)


def in_a_process(folder: Path, steps: int, rank: int = 0, ranks: int = 1) -> subprocess.Popen[str]:
    code = (
        "import sys, pathlib; from david.pipeline.loader import Loader; from david.pipeline.config import DataConfig\n"
        "steps, rank, ranks = map(int, sys.argv[2:])\n"
        "config = DataConfig(height=16, width=12, threads=2)\n"
        "how = {'batch_size': 6, 'seed': 3, 'rank': rank, 'world_size': ranks}\n"
        "with Loader(pathlib.Path(sys.argv[1]), 'train', config, **how) as loader:\n"
        "    print(*[int(one) for _ in range(steps) for one in next(loader).ids], flush=True)"
    )
    command = [sys.executable, "-c", code, str(folder), *map(str, (steps, rank, ranks))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_ranks_of_a_machine_fetch_each_shard_once_between_them(
    server: Server, stored: Path, tmp_path: Path
) -> None:
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    server.pause_s = 0.05
    ranks = [in_a_process(folder, 10, rank, 2) for rank in range(2)]
    found = [rank.communicate(timeout=300) for rank in ranks]
    assert [error for _, error in found] == ["", ""]
    ids = np.stack([np.array(out.split(), int).reshape(10, 3) for out, _ in found], axis=1).reshape(10, 6)
    assert [row.astype(np.int64).tobytes() for row in ids] == [one[: 8 * 6] for one in seen(stored, 10)]
    assert {times for name, times in server.asked.items() if name.endswith(".tar")} == {1}


def test_what_a_killed_process_was_fetching_is_fetched_again_and_removed(
    server: Server, stored: Path, tmp_path: Path
) -> None:
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    server.pause_s = 0.3
    for _ in range(2):
        child = in_a_process(folder, 10)
        while not left_over(folder):
            assert child.poll() is None, "it ended before it fetched anything"
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
    server.pause_s = 0
    held = left_over(folder)
    assert held
    with held[0].open("rb") as other:  # one is still being fetched by somebody
        fcntl.flock(other, fcntl.LOCK_EX)
        cache.mount(server.url, tmp_path / "cache", LARGE)
        assert left_over(folder) == held[:1]
    cache.mount(server.url, tmp_path / "cache", LARGE)
    assert not left_over(folder)
    assert seen(folder, 10) == seen(stored, 10)


def test_closing_does_not_wait_for_what_is_being_fetched(server: Server, tmp_path: Path) -> None:
    folder = cache.mount(server.url, tmp_path / "cache", LARGE)
    server.stall_s = 50
    before = set(threading.enumerate())
    loader = Loader(folder, "train", CONFIG, batch_size=6, seed=3)
    while not left_over(folder):
        assert set(threading.enumerate()) - before, "the threads that fetch have ended"
        time.sleep(0.01)
    loader.close()
    server.stalled.set()
    assert not left_over(folder) and not list(folder.glob("*.tar"))
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("david")]


def test_an_answer_that_comes_as_all_ends_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    far = remote.Remote(server.url, 1, remote.Patience(), "")
    url, answer = f"{server.url}/{manifest.NAME}", remote.Remote._answer
    about = far.about(url, print)

    def ends(self: remote.Remote, *asked: Any) -> Any:
        response = answer(self, *asked)
        self.stop()  # which knows of no answer yet
        return response

    monkeypatch.setattr(remote.Remote, "_answer", ends)
    monkeypatch.setattr(remote.Remote, "_pieces", lambda *_: pytest.fail("it is read on"))
    with pytest.raises(remote.Stopped):
        far.fetch(url, about, 0, about.size, lambda at, data: None, print)


def test_a_shard_that_is_read_never_gives_way(server: Server, stored: Path, tmp_path: Path) -> None:
    listed = manifest.load(stored).split("train")
    folder = cache.mount(server.url, tmp_path / "cache", 2 * max(one.bytes for one in listed))
    brought = cache.Cache(folder)
    held = brought.open(listed[0])
    for one in listed[1:]:
        other = brought.open(one)
        data = os.pread(other.handle, one.bytes, 0)
        del other
        assert hashlib.sha256(data).hexdigest() == one.sha256
        assert (folder / f"{listed[0].name}.tar").exists()
    assert hashlib.sha256(os.pread(held.handle, listed[0].bytes, 0)).hexdigest() == listed[0].sha256
    del held
    for one in listed[1:3]:
        brought.bring(one)
    assert not (folder / f"{listed[0].name}.tar").exists()
    brought.close()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("room", [2, 10])
def test_readers_that_start_together_share_a_cache(
    room: int, count: int, near: Counter[str], stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # of no concern here, and slow
    largest = max(one.bytes for one in manifest.load(stored).split("train"))
    for number in range(ROUNDS):
        near.clear()
        root = tmp_path / str(number) / "cache"
        outcomes = at_once([lambda: everything(cache.mount(str(stored), root, room * largest))] * count)  # noqa: B023
        assert outcomes == [everything(stored)] * count
        assert not left_over(root)
        if room == 10:
            assert {times for name, times in near.items() if name.endswith(".tar")} == {1}


class Near(origin.Origin):
    """A folder of this machine as an address. asked: how often each file was read"""

    asked: ClassVar[Counter[str]] = Counter()

    def copy(self, name: str, size: int | None, write: Callable[[bytes], None]) -> None:
        self.asked[name] += 1
        write((Path(self.url) / name).read_bytes())

    def stop(self) -> None:
        """Nothing takes time."""


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Folders are addresses; how often each of their files is read."""
    monkeypatch.setattr(cache, "origin", Near)
    monkeypatch.setattr(Near, "asked", Counter())
    return Near.asked


def test_an_s3_bucket_gives_the_sets_own_batches(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs")
    boto3, moto = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="shards")
        for path in stored.iterdir():
            client.upload_file(str(path), "shards", f"tiny/{path.name}")
        monkeypatch.setattr(origin, "CHUNK_BYTES", 9000)
        folder = cache.mount("s3://shards/tiny", tmp_path / "cache", LARGE)
        assert seen(folder, 10) == seen(stored, 10)
        assert not left_over(folder)
        with pytest.raises(DavidError, match=r"s3://shards/none/dataset\.json: can't be read \(FileNotFoundError"):
            cache.mount("s3://shards/none", tmp_path / "cache", LARGE)
    finally:
        server.stop()


def test_a_server_that_never_answered_is_told_after_two_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "FIRST_PAUSE_S", 0.01)
    with socket.socket() as nobody:  # which listens to nothing
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/set"
        with pytest.raises(
            DavidError, match=r"no connection .*; gave up after 2 tries .* is the address right"
        ) as told:
            cache.mount(url, tmp_path / "cache", LARGE)
    assert "arrived" not in str(told.value)


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize(
    ("error", "answered", "tries"),
    [(NoCredentialsError("none"), False, 2), (NoCredentialsError("none"), True, 6), (OSError("busy"), False, 6)],
)
def test_a_store_is_asked_again_where_time_may_help(
    error: Exception, answered: bool, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "FIRST_PAUSE_S", 0.001)
    store, asked = origin.Store("memory://set"), 0

    def info(path: str) -> dict[str, int]:
        nonlocal asked
        asked += 1
        if answered and asked == 1:
            return {"size": 0}
        raise error

    monkeypatch.setattr(store, "_files", SimpleNamespace(info=info))
    if answered:
        assert store.read("first") == b""
    with pytest.raises(DavidError, match=rf"memory://set/name: can't be read .*; gave up after {tries} tries"):
        store.read("name")
    assert asked == tries + answered


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_larger_cache_never_fetches_more(
    ranks: int, tiny: Tiny, near: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 shards of one size in windows of 8, three epochs; 9 is the least room that is allowed, 24 is all there is."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # of no concern here, and slow
    stored = tiny(tmp_path / "stored", [6] * 24)
    largest, window, epochs = max(one.bytes for one in manifest.load(stored).split("train")), 8, 3
    config = DataConfig(height=16, width=12, threads=1, shuffle="blocks", window=window)
    fetched = {}
    for room in (9, 13, 17, 24):
        near.clear()
        folder = cache.mount(str(stored), tmp_path / f"cache {room}", room * largest)
        with ExitStack() as stack:
            how = {"batch_size": 6, "seed": 3, "world_size": ranks}
            loaders = [stack.enter_context(Loader(folder, "train", config, rank=r, **how)) for r in range(ranks)]
            for _ in range(24 * epochs):
                for loader in loaders:
                    next(loader)
        fetched[room] = sum(times for name, times in near.items() if name.endswith(".tar"))
    behind = 4 * (ranks - 1) * epochs  # shards that are fetched again where a busy machine leaves one rank behind
    assert fetched[9] + behind >= fetched[13] and fetched[13] + behind >= fetched[17] >= fetched[24] == 24
    assert fetched[9] <= 24 * epochs + window + behind  # and those of the window ahead


def everything(folder: Path) -> list[bytes]:
    """All samples of a set, as they stand in its shards."""
    with closing(Reader(folder, "train")) as reader:
        samples = [reader.read(number) for number in range(reader.samples)]
    return [b"".join([one.rgb, *one.planes.values()]) for one in samples]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "flipped": lambda data: data[:700] + bytes([data[700] ^ 1]) + data[701:],
}


@pytest.mark.parametrize("suffix", [".tar", ".idx"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_a_disk_damaged_is_fetched_again_by_itself_and_named(
    damage: str, suffix: str, near: Counter[str], stored: Path, tmp_path: Path
) -> None:
    folder = cache.mount(str(stored), tmp_path / "cache", LARGE)
    expected = everything(stored)
    assert everything(folder) == expected
    path = (folder / "train-000003.tar").with_suffix(suffix)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match=rf"train-000003\.tar: {path.name} changed on that disk since; fetched again"):
        assert everything(folder) == expected
    for name in ("train-000003.tar", "train-000003.idx"):
        assert (folder / name).read_bytes() == (stored / name).read_bytes()
    path.unlink()
    assert everything(folder) == expected


@pytest.mark.filterwarnings("ignore:.*changed on that disk")
def test_a_disk_that_damages_all_it_gets_ends_in_a_named_error(
    near: Counter[str], stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cache.mount(str(stored), tmp_path / "cache", LARGE)
    entries = index.entries

    def bad_disk(path: Path, *how: Any) -> tuple[np.ndarray, list[str]]:
        path.write_bytes(b"")
        return entries(path, *how)

    monkeypatch.setattr(index, "entries", bad_disk)
    with pytest.raises(DavidError, match=r"train-000000.idx changed on that disk 2 times; is it whole\? give another"):
        everything(folder)


@pytest.mark.filterwarnings("ignore:.*changed on that disk")
def test_after_a_power_cut_at_any_moment_the_cache_gives_the_right_bytes(
    tiny: Tiny, near: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards with room for one, so that one is written and one gives way."""
    stored, root = tiny(tmp_path / "stored", [1, 1]), tmp_path / "cache"
    expected = everything(stored)
    limit = max(one.bytes for one in manifest.load(stored).split("train")) * 3 // 2
    root.mkdir()

    def fill() -> None:
        assert everything(cache.mount(str(stored), root, limit)) == expected

    states = 0
    for cut in power_cut.cuts(root, fill):
        monkeypatch.setattr(os, "fsync", lambda handle: None)  # the power holds from here on
        after = cut.lay(tmp_path / "after")
        folder = cache.mount(str(stored), after, limit)
        assert everything(folder) == expected, cut.when
        assert not left_over(after), cut.when
        states += 1
    assert states > 30


def test_a_shard_is_free_as_soon_as_it_is_here_even_after_its_connection_dropped(
    server: Server, stored: Path, tmp_path: Path
) -> None:
    """Frames that an exception remembers keep what they hold until the garbage is collected."""
    server.drop = 500
    shard = manifest.load(stored).split("train")[0]
    brought = cache.Cache(cache.mount(server.url, tmp_path / "cache", LARGE))
    gc.disable()
    try:
        brought.bring(shard)
        with (brought.folder / f"{shard.name}.tar").open("rb") as tar:
            fcntl.flock(tar, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        gc.enable()
        brought.close()
