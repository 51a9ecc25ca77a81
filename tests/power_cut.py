"""What a power cut leaves of a folder: every state that a disk may hold at each moment of an operation.

    for cut in power_cut.cuts(folder, lambda: write_whole(folder / "a", b"new")):
        after = cut.lay(tmp_path / "after")  # a fresh folder in that state, taken away by the next `lay`
        ...  # run again on `after`, read it; `cut.when` says what was cut

The operation runs once, here, on the real disk, while `os.fsync`, renames and removals are watched. What a disk owes:

- a file's bytes as of its last fsync; of what was written since: nothing, half, or all, alike in all files or in one
  against the others; zeros in place of what was appended; what stood before, or half of it, where it was written over;
- a folder's names as of its last fsync; of the names that came, went and changed since, in order: the first few, all
  but one, or one alone.

The folder itself stands. Files may be written by any means: the folder is looked at before and after each event. An
operation that ends in an exception ends the list there; the exception is raised once the list is used up.
"""

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

WATCHED = ("fsync", "fdatasync", "replace", "rename", "unlink", "remove", "rmdir", "mkdir", "link", "truncate")
AMOUNTS = ("all", "half", "none", "zeros", "torn", "old")  # that may be left of what was not synced
Names = dict[str, int]  # of a folder: name -> inode


@dataclass(frozen=True)
class Cut:
    """One state. when: the event before which the power went and what was lost; files: path -> bytes; folders: paths,
    all relative to the folder."""

    when: str
    files: dict[str, bytes]
    folders: frozenset[str]

    def lay(self, where: Path) -> Path:
        """Make `where` a folder in this state, whatever stood there."""
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        for name in sorted(self.folders):
            (where / name).mkdir()
        for name, data in self.files.items():
            (where / name).write_bytes(data)
        return where


def cuts(folder: Path, operation: Callable[[], object]) -> Iterator[Cut]:
    """Every state once. Raises what the operation raises, after the states that come before that."""
    disk = _Disk(folder.resolve())
    raised: list[BaseException] = []
    with disk.watched():
        try:
            operation()
        except BaseException as error:
            raised.append(error)
    disk.cut("the end")
    yield from disk.found.values()
    if raised:
        raise raised[0]


@dataclass
class _Folder:
    """synced: the names as of the last fsync; changes since then, each of one or more names (a rename is of two) with
    their inodes, or None: gone; now: the names now."""

    synced: Names = field(default_factory=dict)
    changes: list[dict[str, int | None]] = field(default_factory=list)
    now: Names = field(default_factory=dict)

    def may_be(self) -> dict[str, Names]:
        """What may stand there, by what was lost."""
        count = len(self.changes)
        chosen = {f"the first {n} of {count} names": range(n) for n in range(count)}
        chosen |= {f"all {count} names but {n + 1}": {*range(count)} - {n} for n in range(count)}
        chosen |= {f"of {count} names {n + 1} alone": {n} for n in range(count)}
        return {"no name lost": self._with(range(count))} | {why: self._with(which) for why, which in chosen.items()}

    def _with(self, which: range | set[int]) -> Names:
        names = dict(self.synced)
        for number in sorted(which):
            for name, inode in self.changes[number].items():
                names.pop(name, None)
                if inode is not None:
                    names[name] = inode
        return names


class _Disk:
    """What of a folder is safe."""

    def __init__(self, root: Path):
        self.root, self.lock = root, threading.RLock()
        self.folders: dict[int, _Folder] = {}  # by inode
        self.safe: dict[int, bytes] = {}  # inode of a file -> bytes as of its last fsync
        self.data: dict[int, bytes] = {}  # the same, as last seen
        self.held: dict[int, int] = {}  # inode -> a handle that keeps the number from being used again
        self.found: dict[tuple, Cut] = {}
        self.top = root.stat().st_ino
        self._look()
        for one in self.folders.values():  # what stood there before is safe
            one.synced, one.changes = dict(one.now), []
        self.safe = dict(self.data)

    def watched(self) -> AbstractContextManager:
        return mock.patch.multiple(os, **{name: self._watch(name, getattr(os, name)) for name in WATCHED})

    def _watch(self, name: str, call: Callable) -> Callable:
        def watching(*args, **kwargs):
            with self.lock:
                self.cut(f"{name} {_told(args[0])}")
                inode = os.fstat(args[0]).st_ino if name in ("fsync", "fdatasync") else None
                result = call(*args, **kwargs)
                self._look(together=True)
                if inode in self.folders:
                    one = self.folders[inode]
                    one.synced, one.changes = dict(one.now), []
                elif inode in self.data:
                    self.safe[inode] = self.data[inode]
                return result

        return watching

    def cut(self, event: str) -> None:
        """Note all that may be left if the power goes now."""
        self._look()
        odd = [inode for inode, one in self.folders.items() if one.changes]
        usual = {inode: one.may_be()["no name lost"] for inode, one in self.folders.items()}
        choices: list[tuple[str, dict[int, Names]]] = [("no name lost", usual)]
        for inode in odd:  # one folder at a time, the others with all or with nothing of their changes
            others = [usual, {other: dict(one.synced) for other, one in self.folders.items()}]
            for (why, names), rest in itertools.product(self.folders[inode].may_be().items(), others):
                choices.append((why, rest | {inode: names}))
        for (why, names), (what, left) in itertools.product(choices, self._left()):
            files: dict[str, bytes] = {}
            folders: set[str] = set()
            self._walk(self.top, "", names, left, files, folders)
            key = frozenset(files.items()), frozenset(folders)
            self.found.setdefault(key, Cut(f"before {event}: {why}; {what}", files, frozenset(folders)))

    def _left(self) -> list[tuple[str, dict[int, bytes]]]:
        """What may be left of the files' bytes: in words, and by inode."""
        states = {inode: _states(self.safe.get(inode, b""), now) for inode, now in self.data.items()}
        alike = {how: {inode: state[how] for inode, state in states.items()} for how in AMOUNTS}
        left = [(f"{how} of what was not synced", files) for how, files in alike.items()]
        loose = [inode for inode, state in states.items() if state["old"] != state["all"]]
        for inode in loose if len(loose) > 1 else ():  # each against the others
            left.append(("what was not synced of one file alone", alike["old"] | {inode: states[inode]["all"]}))
            left.append(("all but what was not synced of one file", alike["all"] | {inode: states[inode]["old"]}))
        return left

    def _walk(
        self,
        inode: int,
        prefix: str,
        names: dict[int, Names],
        left: dict[int, bytes],
        files: dict[str, bytes],
        folders: set[str],
    ) -> None:
        for name, child in names.get(inode, {}).items():
            if child in self.folders:
                folders.add(prefix + name)
                self._walk(child, f"{prefix}{name}/", names, left, files, folders)
            else:
                files[prefix + name] = left[child]

    def _look(self, together: bool = False) -> None:
        """Take in what is there now. together: what changed in a folder is one change: both names of a rename."""
        pending, seen = [(self.top, self.root)], {}
        while pending:
            inode, path = pending.pop()
            self._hold(inode, path)
            seen[inode] = names = {}
            with os.scandir(path) as listing:
                for entry in listing:
                    child = names[entry.name] = entry.inode()
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((child, Path(entry.path)))
                    else:
                        self._hold(child, Path(entry.path))
                        self.data[child] = Path(entry.path).read_bytes()
        for inode, names in seen.items():
            one = self.folders.setdefault(inode, _Folder())
            changed: dict[str, int | None] = {name: None for name in one.now if name not in names}
            changed |= {name: child for name, child in names.items() if one.now.get(name) != child}
            one.changes += [changed] if together and changed else [{name: child} for name, child in changed.items()]
            one.now = names

    def _hold(self, inode: int, path: Path) -> None:
        if inode not in self.held:
            self.held[inode] = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        for handle in self.held.values():
            os.close(handle)


def _states(safe: bytes, now: bytes) -> dict[str, bytes]:
    """What may be left of a file that held `safe` at its last fsync and `now` later, by AMOUNTS."""
    if now.startswith(safe):  # what was appended is lost alone
        half, zeros = now[: len(safe) + -(-(len(now) - len(safe)) // 2)], safe + bytes(len(now) - len(safe))
        return {"all": now, "half": half, "none": safe, "zeros": zeros, "torn": half, "old": safe}
    first, last = _shared(safe, now), len(now) - _shared(safe[::-1], now[::-1])
    middle = first + -(-(last - first) // 2)
    half, torn = now[: -(-len(now) // 2)], now[:middle] + safe[middle : len(now)]
    return {"all": now, "half": half, "none": b"", "zeros": b"", "torn": torn, "old": safe}


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (this, that) in pairs if this != that), min(len(one), len(other)))


def _told(what: object) -> str:
    return str(Path(f"/proc/self/fd/{what}").readlink()) if isinstance(what, int) else str(what)
