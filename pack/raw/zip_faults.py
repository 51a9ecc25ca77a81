"""What may be wrong with the members that a zip lists: what no honest zip does, and what can't be read here."""

import stat
from collections import Counter

import numpy as np

STORED, DEFLATED = 0, 8
OUTSIDE = "lies outside the file"
UNREADABLE = 0x2061  # flag bits: encrypted, patch data, strongly encrypted, masked headers


class Untrusted(ValueError):
    """A zip whose listing is whole and says what no honest zip does."""


def require_honest(faults: dict[str, np.ndarray], names: list[str]) -> None:
    """Raises ValueError where any member has one of these faults, Untrusted where damage can't be what brought it."""
    for fault, where in faults.items():
        if where.any():
            told = [repr(names[row]) for row in np.flatnonzero(where)[:5].tolist()]
            kind = ValueError if fault == OUTSIDE else Untrusted
            raise kind(f"{', '.join(told)} {fault} ({where.sum():,} of {len(names):,} members)")


def dishonest(
    names: list[str], table: np.ndarray, size: np.ndarray, packed: np.ndarray, outside: np.ndarray
) -> dict[str, np.ndarray]:
    """What no honest zip lists -> the members of which it is said, (members,) bool."""
    folder = _folders(names)
    counts = Counter(names) if len(set(names)) < len(names) else {}
    return {
        "is no plain relative path": np.array([_is_odd(name) for name in names], bool),
        "is there twice": np.array([counts[name] > 1 for name in names] if counts else [False] * len(names), bool),
        "is stored in another size": (table["method"] == STORED)
        & (packed != size)
        & (table["flags"] & UNREADABLE == 0),  # encryption adds some bytes
        "is a folder with bytes": folder & (size != 0),
        "lies in another part of the zip": table["disk"] != 0,
        OUTSIDE: outside,
    }


def unreadable(names: list[str], table: np.ndarray) -> list[str | None]:
    """For each member what keeps it from being read here, None where nothing does."""
    kind = table["attributes"] >> 16 & 0o170000
    method = table["method"]
    faults: list[str | None] = [None] * len(names)
    for fault, where in {
        "is neither stored nor deflated": (method != STORED) & (method != DEFLATED),
        "is encrypted or patched": table["flags"] & UNREADABLE != 0,
        "is no file": (kind != 0) & (kind != np.where(_folders(names), stat.S_IFDIR, stat.S_IFREG)),
        "is a link": kind == stat.S_IFLNK,
    }.items():
        for row in np.flatnonzero(where).tolist():
            faults[row] = fault + (f" (method {method[row]})" if "stored" in fault else "")
    return faults


def _folders(names: list[str]) -> np.ndarray:
    """(members,) bool."""
    return np.array([name.endswith("/") for name in names], bool)


def _is_odd(name: str) -> bool:
    """Whether a name is anything but a plain relative path."""
    parts = name.removesuffix("/").split("/")
    return "" in parts or ".." in parts or "\\" in name or name[1:2] == ":" or not name.isprintable()
