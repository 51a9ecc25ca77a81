"""Files of a shard set at an address: `https://` by urllib3, all else (`s3://`, `gs://`, `hf://`, ...) by fsspec.

Who may read there is said as each library has it: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS`, `HF_TOKEN` and so on.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from david.pack.errors import DavidError
from david.pack.fetch.remote import Changed, Patience, RangesRefused, Remote

CHUNK_BYTES = 1 << 24  # of one request to an object store
MOST_TEXT_BYTES = 1 << 28
TRIES = 6  # in a row without one new byte
FIRST_TRIES = 2  # while nothing was ever answered: an address or rights that are wrong do not get better with time
FIRST_PAUSE_S = 0.5  # doubles with each try
CONNECTIONS = 8
# botocore's own retries would be multiplied by s3fs's and ours: a store that is gone would be told after six minutes
BOTO = {"config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 10, "read_timeout": 30}}
HINT = "is the address right, and does the server run?"
UNREACHED = ("Credential", "Connect", "Unauthorized", "Resolution")  # in the names of the libraries' errors
OPTIONS = {"s3": BOTO, "s3a": BOTO}
PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}

Write = Callable[[bytes], None]
Answer = TypeVar("Answer")


class Origin(ABC):
    """A folder at an address. Safe to use from several threads."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")

    @abstractmethod
    def copy(self, name: str, size: int | None, write: Write) -> None:
        """Hand a file's bytes on, in order; breaks are mended. size: its size, None for all there is up to
        MOST_TEXT_BYTES. Raises DavidError where the file can't be had or is of another size."""

    @abstractmethod
    def stop(self) -> None:
        """End what is being copied: it raises."""

    def read(self, name: str) -> bytes:
        """A small file whole."""
        text = bytearray()
        self.copy(name, None, text.extend)
        return bytes(text)


def origin(url: str) -> Origin:
    """Raises DavidError for an address that nothing here can read."""
    return Server(url) if url.startswith(("http://", "https://")) else Store(url)


class Server(Origin):
    """A web server."""

    def __init__(self, url: str):
        super().__init__(url)
        self._remote = Remote(self.url, CONNECTIONS, Patience(TRIES, FIRST_PAUSE_S, first_tries=FIRST_TRIES), HINT)

    def copy(self, name: str, size: int | None, write: Write) -> None:
        url, got = f"{self.url}/{name}", 0
        about = self._remote.about(url, _untold)
        _check(url, about.size, size)

        def take(at: int, data: bytes) -> None:
            nonlocal got
            fresh = data[max(0, got - at) :]  # after a break a server without ranges begins again
            got += len(fresh)
            write(fresh)

        try:
            self._remote.fetch(url, about, 0, about.size, take, _untold)
        except (Changed, RangesRefused) as error:
            raise DavidError(f"{url}: the file changed while it was read; try again when it is whole") from error

    def stop(self) -> None:
        self._remote.stop(DavidError(f"{self.url}: no longer read"))


class Store(Origin):
    """An object store, or whatever else fsspec knows."""

    def __init__(self, url: str):
        import fsspec

        super().__init__(url)
        scheme = urlsplit(url).scheme
        self._stopping, self._answered = threading.Event(), False
        try:
            self._files, self._root = fsspec.url_to_fs(self.url, **OPTIONS.get(scheme, {}))
        except ImportError as error:
            package = PACKAGES.get(scheme, "the package that it names")
            raise DavidError(f"{url}: {scheme}:// can't be read here ({error}); pip install {package}") from error
        except Exception as error:  # each of fsspec's libraries has errors of its own
            raise DavidError(f"{url}: not an address that can be opened ({_plain(error)})") from error

    def copy(self, name: str, size: int | None, write: Write) -> None:
        url, path, at = f"{self.url}/{name}", f"{self._root}/{name}", 0
        end = self._patiently(url, lambda: int(self._files.info(path)["size"]))
        _check(url, end, size)
        while at < end:
            stop = min(end, at + CHUNK_BYTES)
            data = self._patiently(url, partial(self._files.cat_file, path, start=at, end=stop))
            if len(data) != stop - at:
                raise DavidError(f"{url}: gives {len(data)} bytes for those from {at} to {stop} of {end}; is it whole?")
            at += len(data)
            write(data)

    def _patiently(self, url: str, ask: Callable[[], Answer]) -> Answer:
        failures = 0
        while True:
            if self._stopping.is_set():
                raise DavidError(f"{self.url}: no longer read")
            try:
                answer = ask()
                self._answered = True
                return answer
            except (FileNotFoundError, PermissionError) as error:
                raise DavidError(
                    f"{url}: can't be read ({_plain(error)}); is the address right, and open to you?"
                ) from error
            except Exception as error:  # each of fsspec's libraries has errors of its own
                failures += 1
                hopeless = not self._answered and _unreached(error)
                if failures >= (FIRST_TRIES if hopeless else TRIES):
                    raise DavidError(
                        f"{url}: can't be read ({_plain(error)}); gave up after {failures} tries; is the address "
                        "right, and does the environment say who you are?"
                    ) from error
                self._stopping.wait(FIRST_PAUSE_S * 2 ** (failures - 1))

    def stop(self) -> None:
        self._stopping.set()


def _check(url: str, found: int | None, size: int | None) -> None:
    """Whether the size that was found is the one that is wanted, or one of a small file."""
    if size is not None and found != size:
        raise DavidError(f"{url}: has {found} bytes there, the manifest lists {size}; copy the set there again")
    if size is None and (found is None or found > MOST_TEXT_BYTES):
        raise DavidError(f"{url}: has {found} bytes there, and at most {MOST_TEXT_BYTES} are read; is it a shard set?")


def _unreached(error: Exception) -> bool:
    """Whether no store was found, or nothing to say to it who asks."""
    return any(name in kind.__name__ for kind in type(error).__mro__ for name in UNREACHED)


def _plain(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _untold(message: str) -> None:
    """A break that is mended is nobody's business."""
