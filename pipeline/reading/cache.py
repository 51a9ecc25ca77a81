"""Shard sets at an address, copied shard by shard to a bounded folder of a local disk that all of a machine share.

`CACHE/<digest of the manifest>/` looks like any shard set, but for shards that are not there yet or no more;
`origin.json` beside its manifest names the address. A shard comes whole: under a temporary name, held against the
manifest's SHA-256, then renamed. Whoever brings it holds an exclusive `flock` on the temporary file, so the others wait
for it; whoever reads it holds a shared one, so nobody takes it away; the kernel drops both with their process, however
it ends. Shards give way as `wanted.py` foresees, and those that it knows nothing of first, in the order in which they
were last read. A temporary file that nobody holds is of a process that died: the next start removes it.

What a disk lost or changed since is never an error: whoever finds a shard damaged has it held against the manifest,
taken away and brought again (`mend`), and a warning names it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from david.pack import files
from david.pack.errors import DavidError, Refused
from david.pack.shards import manifest
from david.pack.shards.manifest import Shard
from david.pipeline.reading.opened import Opened
from david.pipeline.reading.origin import origin

ORIGIN = "origin.json"
LOCK = ".lock"
POLL_S = 0.05
ROOM_WAIT_S = 120.0  # until a shard can give way
COPIES = 2  # of a shard that arrives with other bytes than the manifest's, before it is given up
GB = 10**9

Place = tuple[int, float]  # of a shard among those that may give way: the least first
UNFORESEEN: Place = (-1, 0.0)
What = TypeVar("What")


def mount(url: str, cache: Path, limit_bytes: int) -> Path:
    """The folder that stands for the shard set at an address: its manifest is there, shards come as they are read.

    limit_bytes: that all shards of `cache` may take together. Raises DavidError where no shard set is to be had."""
    try:
        text = origin(url).read(manifest.NAME)
        folder = cache / hashlib.sha256(text).hexdigest()[:16]
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            for part in cache.glob("*/.*.part"):
                _remove(part)
            folder.mkdir(exist_ok=True)
            files.write_whole(folder / manifest.NAME, text)
            told = {"url": url, "limit_bytes": limit_bytes}
            files.write_whole(folder / ORIGIN, json.dumps(told).encode())
            try:
                manifest.load_any(folder)
            except DavidError as error:
                shutil.rmtree(folder, ignore_errors=True)  # alone: nobody else lists the cache meanwhile
                raise DavidError(f"{url}: no shards there ({error})") from error
    except OSError as error:
        raise _disk(cache, error) from error
    return folder


def mounted(folder: Path) -> dict[str, Any] | None:
    """What `mount` was given for a folder that it gave; None for any other."""
    if not (folder / ORIGIN).is_file():
        return None
    about = json.loads((folder / ORIGIN).read_bytes())
    return {"url": about["url"], "cache": str(folder.absolute().parent), "limit_bytes": int(about["limit_bytes"])}


class Cache:
    """The shards of one set that come from an address. Safe to use from several threads and processes.

    folder: that `mount` gave"""

    def __init__(self, folder: Path):
        about = json.loads((folder / ORIGIN).read_bytes())
        self.folder, self.root, self.limit_bytes = folder, folder.parent, int(about["limit_bytes"])
        self._origin, self._closing = origin(about["url"]), threading.Event()
        self._mended: Counter[str] = Counter()  # how often a shard was found damaged
        self._place: Callable[[Path], Place] = lambda path: UNFORESEEN

    def foresee(self, place: Callable[[Path], Place]) -> None:
        """place: of the shards under `root`, by the paths of their tars, which one gives way first."""
        self._place = place

    def open(self, shard: Shard) -> Opened:
        """A shard, which stays as long as this is held. Waits until it is there."""
        path = self.folder / f"{shard.name}.tar"
        while True:
            self.bring(shard)
            try:
                opened = Opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:  # it had to give way at once
                continue
            fcntl.flock(opened.handle, fcntl.LOCK_SH)
            if _stands(opened, path):
                os.utime(opened.handle)
                return opened

    def bring(self, shard: Shard, wait: bool = True) -> None:
        """Have a shard here. wait: where someone else is bringing it, for that; otherwise leave it to them."""
        path = self.folder / f"{shard.name}.tar"
        name = path.with_name(f".{path.name}.part")  # all who bring it share it
        while not path.exists():
            if self._closing.is_set():
                raise DavidError(f"{path}: the loader is closed")
            try:
                part = Opened(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
                if _hold(part):
                    try:
                        if _stands(part, name):  # else it was renamed or removed in between
                            self._bring(shard, part, name, path)
                    finally:  # at once: a frame that some exception remembers may keep `part` for long
                        fcntl.flock(part.handle, fcntl.LOCK_UN)
                elif not wait:
                    return
                else:
                    self._closing.wait(POLL_S)
            except OSError as error:
                raise _disk(path, error) from error

    def _bring(self, shard: Shard, part: Opened, name: Path, path: Path) -> None:
        try:
            if path.exists():  # it came between a look at it and the lock
                with _alone(self.root):
                    name.unlink()
                return
            self._make_room(shard.bytes, part)
            index = self._origin.read(f"{shard.name}.idx")
            if hashlib.sha256(index).hexdigest() != shard.index_sha256:
                raise DavidError(f"{self._origin.url}/{shard.name}.idx: not the index that the manifest lists")
            files.write_whole(path.with_suffix(".idx"), index)  # before its tar, beside which alone it counts
            self._copy(shard, part)
            with _alone(self.root):
                name.rename(path)
            files.sync(self.folder)
        except BaseException:
            with _alone(self.root):
                name.unlink(missing_ok=True)
            raise

    def _copy(self, shard: Shard, part: Opened) -> None:
        """Raises DavidError where what arrives is not what the manifest lists."""
        found = ""
        for _ in range(COPIES):
            digest = hashlib.sha256()
            with open(part.handle, "r+b", closefd=False) as file:

                def write(data: bytes, file=file, digest=digest) -> None:
                    digest.update(data)
                    file.write(data)

                file.seek(0)
                self._origin.copy(f"{shard.name}.tar", shard.bytes, write)
                file.flush()
                os.fsync(part.handle)
            if (found := digest.hexdigest()) == shard.sha256:
                return
        raise DavidError(
            f"{self._origin.url}/{shard.name}.tar: came {COPIES} times with other bytes than the manifest lists "
            f"(SHA-256 {found}, listed {shard.sha256}); copy the set there again"
        )

    def _make_room(self, size: int, part: Opened) -> None:
        """Take so many bytes of the disk for a shard; others give way. Raises DavidError where they can't."""
        patience = time.monotonic() + ROOM_WAIT_S
        while time.monotonic() < patience and not self._closing.is_set():
            with _alone(self.root):
                if _give_way(self.root, self.limit_bytes - size, self._place):
                    os.posix_fallocate(part.handle, 0, size)
                    return
            self._closing.wait(POLL_S)
        raise DavidError(
            f"{self.root}: no room for a shard of {size / GB:.3g} GB, all of {self.limit_bytes / GB:.3g} GB is in use; "
            "give a larger --cache-gb"
        )

    def mend(self, shard: Shard) -> bool:
        """Whether a shard here was damaged; then it has been taken away, to be brought again. A warning says so.

        Raises DavidError where that happens again and again."""
        path = self.folder / f"{shard.name}.tar"
        with _alone(self.root):
            expected = {path: shard.sha256, path.with_suffix(".idx"): shard.index_sha256}
            odd = [one.name for one, digest in expected.items() if _sha256(one) != digest]
            if not path.exists() or not odd:
                return not path.exists()  # somebody else took it away
            _take_away(path)
            self._mended[shard.name] += 1
        if self._mended[shard.name] >= COPIES:
            raise DavidError(
                f"{path}: {' and '.join(odd)} changed on that disk {COPIES} times; is it whole? give another --cache"
            )
        warnings.warn(f"{path}: {' and '.join(odd)} changed on that disk since; fetched again", stacklevel=2)
        return True

    def close(self) -> None:
        """End what is under way."""
        self._closing.set()
        self._place = lambda path: UNFORESEEN
        self._origin.stop()


class Held(NamedTuple, Generic[What]):
    """A shard in a cache. read: when that was last; size: bytes"""

    place: Place
    read: int
    size: int
    what: What


def by_turn(here: Iterable[Held[What]]) -> list[Held[What]]:
    """In the order in which they give way: by place, and then what was read longest ago first."""
    return sorted(here, key=lambda one: (one.place, one.read))


def _give_way(root: Path, allowed: int, place: Callable[[Path], Place]) -> bool:
    """Remove shards, each in its turn, until all takes `allowed` bytes; False where too much is in use."""
    here = [(path.stat(), path) for path in [*root.glob("*/*.tar"), *root.glob("*/.*.tar.part")]]
    used = sum(about.st_size for about, _ in here)
    if used > allowed:
        for one in by_turn(Held(place(path), about.st_mtime_ns, about.st_size, path) for about, path in here):
            if used > allowed and _remove(one.what):
                used -= one.size
    return used <= allowed


def _remove(path: Path) -> bool:
    """Remove a file unless somebody holds it; a shard's index goes before it."""
    try:
        opened = Opened(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:  # it has just been named, or given up
        return True
    if held := _hold(opened):
        _take_away(path)
    return held


def _take_away(path: Path) -> None:
    if path.suffix == ".tar":  # whoever finds no tar may write both anew at once
        path.with_suffix(".idx").unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _sha256(path: Path) -> str | None:
    """None where the file can't be read."""
    try:
        return files.sha256(path)
    except OSError:
        return None


def _hold(opened: Opened) -> bool:
    """Hold a file alone, unless somebody else holds it."""
    try:
        fcntl.flock(opened.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stands(opened: Opened, path: Path) -> bool:
    """Whether `path` still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(opened.handle), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Only one of this machine's processes and threads at a time: for a moment, never while something is copied."""
    lock = Opened(os.open(root / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644))
    fcntl.flock(lock.handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock.handle, fcntl.LOCK_UN)


def _disk(path: Path, error: OSError) -> Refused:
    return Refused(f"{path}: can't be kept there ({error.strerror}); free some of that disk, or give another --cache")
