"""Connections of urllib3 as david wants them: verified, through the environment's proxy, and hung up where a server
takes for ever over an answer's headers."""

import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProxySchemeUnknown
from urllib3.util import parse_url

from david.pack.errors import DavidError

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class _Punctual:
    """A connection that hangs up where an answer's headers take longer than `window_s`."""

    window_s: float

    def getresponse(self) -> urllib3.HTTPResponse:
        late = threading.Event()
        sock = self.sock  # type: ignore[attr-defined]

        def hang_up() -> None:
            late.set()
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.window_s, hang_up)
        timer.daemon = True
        timer.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            timer.cancel()
            if late.is_set():  # what came until then may look like all of it
                raise TimeoutError(f"no headers in {self.window_s:.0f} s")


def pool(base_url: str, connections: int, timeout_s: float, window_s: float) -> urllib3.PoolManager:
    """Connections to a server, at most so many kept. timeout_s: of silence; window_s: for an answer's headers."""
    manager = _manager(base_url, connections, timeout_s)

    def punctual(kind: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        connection = type("Connection", (_Punctual, kind.ConnectionCls), {"window_s": window_s})
        return type("Pool", (kind,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {
        "http": punctual(HTTPConnectionPool),
        "https": punctual(HTTPSConnectionPool),
    }
    return manager


def _manager(base_url: str, connections: int, timeout_s: float) -> urllib3.PoolManager:
    about = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(about.scheme) or proxies.get("all")
    common = {
        "num_pools": 4,
        "maxsize": connections,
        "timeout": urllib3.Timeout(connect=timeout_s, read=timeout_s),
        "ssl_context": ssl.create_default_context(),
    }
    if not proxy or about.hostname in LOOPBACK or proxy_bypass(about.hostname or ""):
        return urllib3.PoolManager(**common)
    secret = parse_url(proxy).auth
    credentials = urllib3.make_headers(proxy_basic_auth=unquote(secret)) if secret else None
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=credentials, **common)
    except ProxySchemeUnknown as error:
        raise DavidError(f"the proxy named in the environment can't be used: {error}") from error
