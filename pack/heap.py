"""The C heap of a process that works through samples: what one frees is kept for the next.

glibc gives large blocks back to the system at once, and taken afresh their pages are an eighth of what packing costs.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_KEPT = 32 << 20  # bytes of a block; glibc allows no more
_MOST_KEPT = 256 << 20


def keep() -> None:
    """Keep freed blocks from now on, in this process. Where the C library is not glibc nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT)
