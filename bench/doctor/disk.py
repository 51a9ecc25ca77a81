"""How fast a folder's disk reads, past the system's page cache where the file system allows it."""

import errno
import mmap
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from david.bench.doctor.check import Asked, Said
from david.pack.files import require_place

FILE_BYTES = 128 << 20
BLOCK = 4 << 20  # bytes of a read in sequence
SAMPLE = 512 << 10  # bytes of a read at random: a sample of SynthHuman, 0.49 MB, is read in one
READERS = 4  # at a time, as the loader's threads read
WRITE_S, READ_S, RANDOM_S = 4.0, 2.0, 1.5  # at most
SLOW = 300.0  # samples/s at random below which one GPU may wait for the disk

MOUNTS, IN_MEMORY = Path("/proc/mounts"), ("tmpfs", "ramfs")
PAST_CACHE = "past the page cache"
DROPPED = "page cache dropped before"
CACHED = "from memory"


def disk(asked: Asked) -> Said:
    """Writes a file, reads it in sequence and at random, and takes it away."""
    folder = Path(asked.disk)
    require_place(folder)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".david-doctor-") as file:
        size, write_s = written(file.fileno())
        how, handle = opened(Path(file.name))
        try:
            sequence = rate(handle, size, BLOCK, READ_S, 1, in_sequence)
            if how == DROPPED:
                dropped(handle)
            at_random = rate(handle, size, SAMPLE, RANDOM_S, READERS, scattered)
        finally:
            os.close(handle)
    samples, kind = at_random / SAMPLE, file_system(folder)
    rates = (
        f"writes {size / write_s / 1e6:,.0f} MB/s, reads {sequence / 1e6:,.0f} in sequence and {at_random / 1e6:,.0f} "
        f"at random, {samples:,.0f} samples/s ({how})"
    )
    found = f"{folder.resolve()}{f' ({kind})' if kind else ''}: {rates}"
    if samples < SLOW:
        return Said(
            found,
            "a GPU may wait for it: put the shards on a local disk, or train with --set data.shuffle=blocks",
        )
    return Said(found)


def written(handle: int) -> tuple[int, float]:
    """Fill the file with bytes that no disk compresses; how many there are, and the seconds until they were on the
    disk."""
    block, size, begin = os.urandom(BLOCK), 0, time.perf_counter()
    while size < FILE_BYTES and (not size or time.perf_counter() - begin < WRITE_S):
        view = memoryview(block)
        while view:
            view = view[os.write(handle, view) :]
        size += BLOCK
    os.fsync(handle)
    return size, time.perf_counter() - begin


def opened(path: Path) -> tuple[str, int]:
    """How the page cache was kept out, and a handle to read by."""
    if file_system(path) in IN_MEMORY:
        return CACHED, os.open(path, os.O_RDONLY)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, 4096) as page:
            os.preadv(handle, [page], 0)
        return PAST_CACHE, handle
    except (OSError, AttributeError) as error:  # not every file system, nor every system
        if isinstance(error, OSError) and error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    handle = os.open(path, os.O_RDONLY)
    return (DROPPED if dropped(handle) else CACHED), handle


def dropped(handle: int) -> bool:
    """Ask the system to forget what it has of a file; whether it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def file_system(path: Path) -> str:
    """Its type by the mount that it lies in, such as `ext4`; nothing where the system does not tell."""
    try:
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return ""
    inside = [one for one in mounts if path.resolve().is_relative_to(one[1].replace("\\040", " "))]
    return max(inside, key=lambda one: len(one[1]))[2] if inside else ""


def in_sequence(number: int, count: int) -> int:
    return number % count


def scattered(number: int, count: int) -> int:
    return random.Random(number).randrange(count)  # the same places each time


def rate(handle: int, size: int, block: int, limit_s: float, readers: int, place: Callable[[int, int], int]) -> float:
    """Bytes/s of reads of `block` bytes by so many threads at a time, each at a place that is asked for by number: as
    many as the file has at most, and no longer than the limit."""
    count, lock, begun, done = size // block, threading.Lock(), 0, 0
    begin = time.perf_counter()

    def work() -> None:
        nonlocal begun, done
        with mmap.mmap(-1, block) as room:  # of whole pages, as reads past the cache ask for
            while True:
                with lock:
                    number, begun = begun, begun + 1
                if number >= count or (number >= readers and time.perf_counter() - begin > limit_s):
                    return
                got = os.preadv(handle, [room], place(number, count) * block)
                with lock:
                    done += got

    threads = [threading.Thread(target=work) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done / (time.perf_counter() - begin)
