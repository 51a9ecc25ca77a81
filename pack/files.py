"""Files are whole or absent: a temporary name in the same folder, flush, fsync, rename, fsync of the folder.

A temporary name, `.NAME.TOKEN.part`, is one writer's alone, so that several may write the same file at once; the last
to end names it. The writer holds a `flock` on it, which the kernel drops with the process, however that ends: what
nobody holds is left of a kill, and whoever writes that file next takes it away.
"""

import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_TAIL = re.compile(r"\.[0-9a-f]{16}\.part")
_LEFT = re.compile(r"\..+" + _TAIL.pattern)


@contextmanager
def whole(path: Path, *, tidy: bool = True) -> Iterator[BinaryIO]:
    """A file to write that appears under `path` only once it is complete and on the disk.

    tidy: first take away what killed writers of it left, for which the whole folder is looked through; who writes many
    files to one folder calls `sweep_below` once instead. Raises OSError, which names `path` and says so, where it can't
    be written."""
    with _writing(path, tidy) as (_, file):
        yield file


@contextmanager
def whole_by_name(path: Path) -> Iterator[Path]:
    """As `whole`, for libraries that want a name to write to: that of a temporary file, which they write in place."""
    with _writing(path, True) as (temporary, _):
        yield temporary


@contextmanager
def _writing(path: Path, tidy: bool) -> Iterator[tuple[Path, BinaryIO]]:
    try:
        if tidy:
            sweep(path)
        temporary, handle = _begin(path)
        try:
            with os.fdopen(handle, "wb") as file:
                yield temporary, file
                file.flush()
                os.fsync(file.fileno())
                temporary.replace(path)  # under the lock: a sweep never sees it without
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        if error.filename is None or Path(error.filename).name.startswith(f".{path.name}."):
            raise _refused(error, path, "written") from error
        raise


def write_whole(path: Path, data: bytes, *, tidy: bool = True) -> None:
    with whole(path, tidy=tidy) as file:
        file.write(data)


def sweep(path: Path) -> None:
    """Take away what writers of `path` left that were killed; a living one keeps its file.

    Where the file system has no locks nobody can tell, so all stay."""
    with suppress(FileNotFoundError):
        for other in path.parent.iterdir():
            if other.name.startswith(f".{path.name}.") and _TAIL.fullmatch(other.name[len(path.name) + 1 :]):
                with suppress(OSError):
                    _remove_unheld(other)


def sweep_below(folder: Path) -> None:
    """As `sweep`, for every file in a folder and below it."""
    for root, _, names in os.walk(folder):
        for name in names:
            if _LEFT.fullmatch(name):
                with suppress(OSError):
                    _remove_unheld(Path(root, name))


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing, whoever makes it or takes it away meanwhile.

    Raises OSError, which names it and says so, where it can't be made."""
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            return
        except FileExistsError as error:  # a file in the way; or a folder that has gone since mkdir met it
            with suppress(FileNotFoundError):
                if not stat.S_ISDIR(path.lstat().st_mode):
                    raise _refused(error, path, "made") from error
        except OSError as error:
            raise _refused(error, path, "made") from error


def require_place(path: Path) -> None:
    """Raise OSError where nothing can be made at `path`: the folder that it is, or the nearest above it that is there,
    takes no file. Nothing is left."""
    while True:
        there = next(one for one in (path, *path.absolute().parents) if one.exists())
        try:
            temporary, handle = _begin(there / "david")
        except OSError as error:
            if there.exists():  # else it was taken away meanwhile
                raise _refused(error, path, "written") from error
        else:
            temporary.unlink(missing_ok=True)
            os.close(handle)
            return


def sync(path: Path) -> None:
    """Wait until what was written to a file, or renamed in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill(handle: int, data: memoryview, offset: int) -> int:
    """Read a file's bytes from `offset` on into `data`; how many there were, fewer only where the file ends.

    A single read may bring fewer: over a network, from FUSE, and more than 2 GB never come at once."""
    filled = 0
    while filled < len(data) and (got := os.preadv(handle, [data[filled:]], offset + filled)):
        filled += got
    return filled


def stands(handle: int, path: Path) -> bool:
    """Whether `path` still names the file that is open."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _refused(error: OSError, path: Path, what: str) -> OSError:
    """The same error, as one that says of `path` what can't be done."""
    return OSError(error.errno, f"can't be {what} ({error.strerror or error})", str(path))


def _begin(path: Path) -> tuple[Path, int]:
    """A temporary file for `path` that no other writer has, open and held."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: its own name is all that protects it
            fcntl.flock(handle, fcntl.LOCK_EX)
        if stands(handle, temporary):  # else a sweep came between the two
            return temporary, handle
        os.close(handle)


def _remove_unheld(temporary: Path) -> None:
    handle = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)  # NFS locks only what is open for writing
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temporary.unlink()
    finally:
        os.close(handle)
