"""A real HTTP server on this machine with the vices that a test gives it, and what it serves: zips."""

import hashlib
import random
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from david.pack.fetch import lock
from david.pack.fetch.fetcher import DownloadOptions
from david.pack.fetch.remote import Patience

PART_BYTES = 64 << 10
ZIP = "SynthHuman_0000.zip"


def make_zip(path: Path, members: int, member_bytes: int, seed: int) -> bytes:
    chance = random.Random(seed)
    with zipfile.ZipFile(path, "w") as file:
        for number in range(members):
            kind = zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED
            file.writestr(f"rgb_{number:07d}.png", chance.randbytes(member_bytes), kind)
    return path.read_bytes()


@dataclass
class Server:
    """A real HTTP server on this machine, with the vices that a test gives it.

    requests: (name, first byte or None, status) of each answer; sent: bytes of bodies
    """

    files: dict[str, bytes]
    url: str = ""
    requests: list[tuple[str, int | None, int]] = field(default_factory=list)
    sent: int = 0
    ranges: Callable[[], bool] = lambda: True
    drop_after: int | None = None  # bytes of each answer, then the connection closes
    drops: int = 10**9  # how many answers are dropped
    announce: Callable[[int], int] = lambda length: length  # Content-Length of a body
    announce_total: Callable[[int], int] = lambda total: total  # in Content-Range
    etag: Callable[[], str | None] = lambda: '"v1"'
    spoil: Callable[[str, int, bytes], bytes] = lambda name, start, body: body
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # statuses to give before all else
    pause_s: float = 0.0  # after each block
    silences: int = 0  # requests left without an answer
    chunked: bool = False
    block_bytes: int = 16384  # written at once
    endless_headers: bool = False
    guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self, what: str) -> bool:
        """Count `what` down; True while there was some left."""
        with self.guard:
            left = getattr(self, what)
            setattr(self, what, max(0, left - 1))
            return left > 0


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def begin(self, name: str, start: int | None, status: int, headers: dict[str, str]) -> None:
            with server.guard:
                server.requests.append((name, start, status))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if server.take("silences"):
                time.sleep(1.5)
                self.close_connection = True
                return
            with server.guard:
                answer = server.answers.pop(0) if server.answers else None
            if answer is None and name not in server.files:
                answer = 404, {}
            if answer:
                self.begin(name, None, answer[0], {"Content-Length": "0", **answer[1]})
                return
            if server.endless_headers:
                self.send_response_only(206)
                self.flush_headers()
                with suppress(OSError):  # until the client has gone
                    while True:
                        self.wfile.write(b"X-More: and more\r\n")
                        time.sleep(0.02)
                self.close_connection = True
                return
            body = server.files[name]
            total = len(body)
            headers = {"Accept-Ranges": "bytes"}
            if (etag := server.etag()) is not None:
                headers["ETag"] = etag
            asked = self.headers.get("Range")
            start, status = None, 200
            if asked and server.ranges():
                first, _, last = asked.removeprefix("bytes=").partition("-")
                start, stop, status = int(first), min(total, int(last) + 1 if last else total), 206
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{server.announce_total(total)}"
                body = body[start:stop]
            body = server.spoil(name, start or 0, body)
            if server.chunked and status == 200:
                headers["Transfer-Encoding"] = "chunked"
            else:
                headers["Content-Length"] = str(server.announce(len(body)))
            self.begin(name, start, status, headers)
            self.give(body, chunked="Transfer-Encoding" in headers)
            if server.announce(len(body)) != len(body):
                self.close_connection = True

        def give(self, body: bytes, chunked: bool) -> None:
            drop = server.drop_after is not None and len(body) > server.drop_after and server.take("drops")
            end = server.drop_after if drop else len(body)
            for first in range(0, end, server.block_bytes):
                block = body[first : min(first + server.block_bytes, end)]
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
                except OSError:  # the client has gone
                    self.close_connection = True
                    return
                with server.guard:
                    server.sent += len(block)
                if server.pause_s:
                    time.sleep(server.pause_s)
            if drop:
                self.close_connection = True
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")

    return Handler


class Quiet(ThreadingHTTPServer):
    """Says nothing of clients that have gone."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    known = Server(files)
    real = Quiet(("127.0.0.1", 0), handler(known))
    real.daemon_threads = True
    known.url = f"http://127.0.0.1:{real.server_port}/data"
    thread = threading.Thread(target=real.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield known
    finally:
        real.shutdown()
        thread.join()
        real.server_close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    names = [f"SynthHuman_{number:04d}.zip" for number in range(3)]
    with serving(
        {name: make_zip(tmp_path / "served" / name, 20, 30_000, seed) for seed, name in enumerate(names)}
    ) as it:
        yield it


@pytest.fixture
def options(server: Server) -> DownloadOptions:
    patience = Patience(tries=4, first_pause_s=0.01, timeout_s=0.5)
    return DownloadOptions(base_url=server.url, connections=4, part_bytes=PART_BYTES, patience=patience)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def assert_whole(out: Path, server: Server, names: list[str] | None = None) -> None:
    """The zips are there byte for byte, the lock tells them, and nothing else is there."""
    names = names or [ZIP]
    for name in names:
        assert (out / name).read_bytes() == server.files[name]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, lock.NAME])
    entries = lock.load(out / lock.NAME)
    for name in names:
        assert entries[name].bytes == len(server.files[name])
        assert entries[name].sha256 == hashlib.sha256(server.files[name]).hexdigest()
