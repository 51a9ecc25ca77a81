"""What a process has of its machine: processors, versions of what it computes with, a C heap that keeps what it frees.

glibc gives large blocks back to the system at once, and taken afresh their pages are an eighth of what packing costs.
"""

import ctypes
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 << 20  # bytes of a block; glibc allows no more
_MOST_KEPT = 256 << 20
PACKAGES = ("david-train", "torch", "timm", "nvidia-dali-cuda130", "opencv-python-headless", "lz4", "numpy")


_share: int | None = None  # of processors, where others have the rest


def cores() -> int:
    """How many processors this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return there if _share is None else min(there, _share)


def share(count: int) -> None:
    """From now on this process uses `count` processors of those that are there, and leaves the others to others."""
    global _share
    _share = max(1, count)


def processor() -> str:
    """This machine's, by name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def versions() -> dict[str, str]:
    """Of Python, and of the packages that decide how fast david is and how it rounds, where they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def keep_heap() -> None:
    """Keep freed blocks from now on, in this process. Where the C library is not glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
