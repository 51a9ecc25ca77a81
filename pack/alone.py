"""One process at a time: a lock file, held by `flock`, which the kernel drops with the process however it ends.

The file may be taken away by whoever holds it, with the folder it lies in; who waits for it meanwhile makes it anew.
A file system without locks (Lustre without `-o flock`, some NFS) gets a second file in its place, `NAME.held`, made by
one process alone and naming it. A kill leaves that file: on the same machine the next process sees that its maker is
gone, from another machine nobody can, so the error names the file.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from david.pack import files
from david.pack.errors import DavidError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
POLL_S = 0.05  # where there are no locks to wait for
HELD_S = 600.0  # that a maker of `NAME.held` on another machine is waited for


class Held(Exception):
    """Another process holds the lock. By whom, where that is known."""


@contextmanager
def alone(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; it and its folder are made where they are missing.

    wait: for others who hold it; without, Held is raised at once. Raises DavidError where a process on another machine
    seems to have left it, OSError where it can't be made."""
    handle = _locked(path, wait)
    if handle is not None:
        try:
            yield
        finally:
            os.close(handle)
        return
    marker = _marked(path, wait)
    try:
        yield
    finally:
        marker.unlink(missing_ok=True)


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file `path`. Ask only where nobody takes it meanwhile."""
    if not path.exists():
        return False
    try:
        with alone(path, wait=False):
            return False
    except Held:
        return True


def _locked(path: Path, wait: bool) -> int | None:
    """A handle that holds `path`; None where the file system has no locks."""
    while True:
        files.make_folder(path.parent)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # the folder was taken away between the two
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if files.stands(handle, path):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise Held from error
        except OSError as error:
            os.close(handle)
            if error.errno in NO_LOCKS:
                return None
            error.filename = str(path)
            raise
        os.close(handle)  # whoever held it before took it away


def _marked(path: Path, wait: bool) -> Path:
    """Make `NAME.held`, which says who."""
    marker = path.with_name(f"{path.name}.held")
    patience = time.monotonic() + HELD_S
    while True:
        files.make_folder(path.parent)
        with suppress(FileNotFoundError):
            try:
                handle = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                holder = marker.read_text()
                if _is_gone(holder):
                    _take_away(marker, holder)
                    continue
            else:
                os.write(handle, f"{socket.gethostname()} {os.getpid()}".encode())
                os.close(handle)
                return marker
            if not wait:
                raise Held(f"{holder or 'unknown'}; if that process is gone, delete {marker}")
            if time.monotonic() > patience:
                raise DavidError(f"{marker}: held by {holder or 'unknown'}; if that process is gone, delete the file")
            time.sleep(POLL_S)


def _is_gone(holder: str) -> bool:
    """Whether the maker of a `NAME.held` was a process of this machine that has ended."""
    host, _, pid = holder.rpartition(" ")
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _take_away(marker: Path, holder: str) -> None:
    """Of several who see that the maker is gone one takes the file away, and nobody another's new one."""
    aside = marker.with_name(f"{marker.name}.{os.getpid()}")
    marker.rename(aside)
    if aside.read_text() == holder:
        aside.unlink()
    else:  # a new one, made between the look and the rename: it goes back
        with suppress(FileExistsError):
            os.link(aside, marker)
        aside.unlink()
