"""Bytes from an HTTPS server that may drop, stall, refuse, change or lie.

urllib3 speaks HTTP; what stands here is the patience around it: whatever was received counts, and a break goes on
from there. TLS is verified against the system's certificates (or `SSL_CERT_FILE`, which OpenSSL reads), always;
plain http is spoken with this very machine only. Proxies are taken from the environment, as everywhere.
"""

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError

from david.pack.errors import DavidError
from david.pack.fetch.answers import About, Broken, Unavailable, about_of, plain, refuse, same, serves
from david.pack.fetch.connections import LOOPBACK, pool

CHUNK_BYTES = 1 << 18
LONGEST_PAUSE_S = 60.0
LONGEST_RETRY_AFTER_S = 600.0
REDIRECTS = 5
MOST_UNTOLD_BYTES = 16 << 30  # of a file whose size no server told; SynthHuman's zips have 8.75 GB
GATHER_S = 1.0  # bytes that trickle are handed on so often


Write = Callable[[int, bytes], None]
Tell = Callable[[str], None]
T = TypeVar("T")


class Stopped(Exception):
    """The run is ending; this transfer ends with it."""


class RangesRefused(Exception):
    """The server answers a request for a range with something else."""


class Changed(Exception):
    """The file at the server is no longer the one that was asked about."""


class _Slow(Exception):
    """Bytes come, but too few."""


@dataclass(frozen=True)
class Patience:
    """tries: in a row without one new byte, then it gives up; first_pause_s: doubles with each try up to a minute,
    times a random factor; timeout_s: of silence, then a connection counts as broken; least_bytes: that must come in
    each window_s, else it is broken too, as where an answer's headers take longer than that; first_tries: instead of
    tries, while the server has not answered once; clock: tells seconds."""

    tries: int = 10
    first_pause_s: float = 0.5
    timeout_s: float = 30.0
    least_bytes: int = 1 << 16
    window_s: float = 60.0
    first_tries: int | None = None
    clock: Callable[[], float] = time.monotonic


class Remote:
    """A server to read files from, over at most `connections` connections at a time. Safe to use from many threads.

    then: what to do, in the error that is raised where patience ends."""

    def __init__(self, base_url: str, connections: int, patience: Patience, then: str):
        _require_tls(base_url)
        self._patience, self._then, self._answered = patience, then, False
        self._pool = pool(base_url, connections, patience.timeout_s, patience.window_s)
        self._stopping = threading.Event()
        self._reason: Exception | None = None
        self._open: set[urllib3.BaseHTTPResponse] = set()

    def stop(self, reason: Exception | None = None) -> None:
        """End all transfers now: they raise `reason`, or Stopped."""
        self._reason = self._reason or reason or Stopped()
        self._stopping.set()
        for response in tuple(self._open):
            try:
                response.shutdown()
            except (ValueError, RuntimeError, OSError):  # has just ended by itself
                continue

    def go_on(self) -> None:
        """Raises what `stop` was given, once it was called."""
        if self._reason:
            raise self._reason

    def about(self, url: str, tell: Tell) -> About:
        """Ask for the first byte, which shows size, version and whether ranges are served. Raises DavidError."""

        def ask() -> About:
            with self._get(url, 0, 1) as response:
                return about_of(response)

        return self._patiently(url, ask, tell)

    def fetch(self, url: str, about: About, start: int, stop: int | None, write: Write, tell: Tell) -> None:
        """Hand the bytes start .. stop of a file to write(offset, data), in order; after a break go on from there.

        Where `about` has no ranges, start must be 0 and stop the size, and each break starts over. stop None: to the
        end, wherever it is, within MOST_UNTOLD_BYTES. Raises Changed or RangesRefused where the answer is of another
        file or not the range, Unavailable, which stops all others too, where patience ends; DavidError where the server
        refuses."""
        at = start

        def read_on() -> None:
            nonlocal at
            at = at if about.ranges else start
            with self._get(url, *((at, stop) if about.ranges else ())) as response:
                if about.ranges and not serves(response, at, stop):
                    raise RangesRefused(url)
                if not same(about_of(response), about):
                    raise Changed(url)
                try:
                    for data in self._pieces(response):
                        self.go_on()
                        if stop is not None and at + len(data) > stop:
                            raise Broken("the server sends more bytes than it announced", at)
                        if stop is None and at + len(data) > MOST_UNTOLD_BYTES:
                            raise DavidError(
                                f"{url}: more than {MOST_UNTOLD_BYTES / 1e9:,.1f} GB came, and the server told no "
                                "length; try again later, or another --base-url"
                            )
                        write(at, data)
                        at += len(data)
                        if at == stop:
                            return
                except HTTPError as error:
                    raise Broken(plain(error), at) from error
                except _Slow as error:
                    raise Broken(str(error), at, slow=True) from error
                if stop is not None:
                    raise Broken(f"the answer ended after {at:,} of {stop:,} bytes", at)

        self._patiently(url, read_on, tell)

    def _pieces(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The answer's bytes in order, all that came before it broke. Raises HTTPError where it breaks, _Slow where it
        gives too little."""
        patience, gathered, broken = self._patience, bytearray(), None
        begun = handed = patience.clock()
        got = 0
        while broken is None:
            try:
                data = response.read1(CHUNK_BYTES, decode_content=False)
            except HTTPError as error:
                data, broken = b"", error
            gathered += data
            got += len(data)
            now = patience.clock()
            if now - begun >= patience.window_s and data:
                if got < patience.least_bytes:
                    broken = _Slow(f"the server gave {got:,} bytes in {now - begun:,.0f} s")
                begun, got = now, 0
            if gathered and (len(gathered) >= CHUNK_BYTES or now - handed >= GATHER_S or broken or not data):
                yield bytes(gathered)
                gathered.clear()
                handed = now
            if not data and broken is None:
                return
        try:
            raise broken
        finally:
            del (
                broken
            )  # else it and this frame keep each other, and all that the callers hold, until they are collected

    def _patiently(self, url: str, attempt: Callable[[], T], tell: Tell) -> T:
        failures, reached = 0, -1
        while True:
            self.go_on()
            try:
                return attempt()
            except Unavailable as error:
                self.stop(error)
                raise
            except Broken as broken:
                self.go_on()
                failures = failures + 1 if broken.slow or broken.at <= reached else 1
                reached = max(reached, broken.at)
                pause_s = broken.pause_s or 0.0
                tries = self._patience.tries if self._answered else self._patience.first_tries or self._patience.tries
                if failures >= tries or pause_s > LONGEST_RETRY_AFTER_S:
                    asked = f", asks to wait {pause_s:,.0f} s" if pause_s else ""
                    progress = "enough new bytes" if broken.slow else "a new byte"
                    error = Unavailable(
                        f"{url}: {broken}{asked}; gave up after {failures} tries without {progress}; {self._then}"
                    )
                    self.stop(error)
                    raise error from broken
                backoff_s = min(LONGEST_PAUSE_S, self._patience.first_pause_s * 2 ** (failures - 1))
                pause_s = max(pause_s, backoff_s * random.uniform(0.5, 1.5))  # jitter: not all at the same moment
                tell(f"{broken}; again in {pause_s:.0f} s (try {failures + 1} of {tries})")
                self._stopping.wait(pause_s)

    @contextmanager
    def _get(self, url: str, start: int | None = None, stop: int | None = None) -> Iterator[urllib3.BaseHTTPResponse]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "david"}
        if start is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        response = self._answer(url, headers)
        self._open.add(response)
        try:
            self.go_on()  # `stop` saw no answer that came while it looked
            if response.status not in (200, 206):
                refuse(url, response)
            yield response
        finally:
            self._open.discard(response)
            response.close()  # a connection whose answer was read to its end is back in the pool already

    def _answer(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        for _ in range(REDIRECTS):
            _require_tls(url)
            try:
                response = self._pool.request(
                    "GET", url, headers=headers, preload_content=False, retries=False, redirect=False
                )
            except SSLError as error:
                if isinstance(error.args[0], ssl.SSLCertVerificationError):
                    raise Unavailable(
                        f"{url}: the server's certificate is not trusted ({error.args[0].verify_message}); install the "
                        "system's CA certificates, or name your network's own in SSL_CERT_FILE"
                    ) from error
                raise Broken(plain(error)) from error
            except LocationParseError as error:
                raise DavidError(f"{url}: not an address that can be opened ({error})") from error
            except HTTPError as error:
                raise Broken(plain(error)) from error
            self._answered = True
            location = response.get_redirect_location()
            if not location:
                return response
            response.close()
            try:
                url = urljoin(url, location)
            except ValueError as error:
                raise DavidError(f"{url}: leads on to {location}, no address that can be opened ({error})") from error
        raise DavidError(f"{url}: {REDIRECTS} redirects in a row; is the base URL right?")


def _require_tls(url: str) -> None:
    try:
        about = urlsplit(url)
    except ValueError as error:
        raise DavidError(f"{url}: not an address that can be opened ({error})") from error
    if about.scheme == "https" or (about.scheme == "http" and about.hostname in LOOPBACK):
        return
    raise DavidError(f"{url}: only https addresses are read, since nothing else tells who answers; use https://")
