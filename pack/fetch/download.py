"""`david download OUT`: the official zips or models, whole and checked, or a named reason why not.

In: names of files under a base URL. Out: those files in a folder, and beside them a lock file, which later runs and
other people can check against (`lock.py`). Each file is brought by `fetcher.py`; while some are checked, the
next ones already download.
"""

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from david.pack.errors import DavidError
from david.pack.fetch import lock, partial
from david.pack.fetch.answers import About, Unavailable
from david.pack.fetch.fetcher import DownloadOptions, Fetcher, Report, contrast
from david.pack.fetch.kinds import ZIP, Kind
from david.pack.fetch.lock import Entry
from david.pack.raw import zipcheck

ZIPS_AT_ONCE = 4  # one or two download, the others are being checked


def download(
    out: Path, names: Sequence[str], options: DownloadOptions | None = None, report: Report | None = None
) -> dict[str, Entry]:
    """Bring the zips `names` into the folder `out`; returns their sizes and hashes. What is whole there already costs
    no request; what a break or kill left behind is gone on with.

    A zip that the server lacks, or that stays damaged, doesn't keep the others from coming; at the end DavidError says
    which and why. Unavailable (a DavidError: no network, no room) ends the run at once."""
    with _Run(out, options, report) as run:
        missing = run.missing(names)
        sizes = run.sizes(missing)
        run.require_room(sum(sizes.values()))
        failures = []
        for future in as_completed([run.bring(name) for name in missing]):
            try:
                future.result()
            except Unavailable:
                raise
            except DavidError as error:
                failures.append(str(error))
        if failures:
            raise DavidError("\n".join(failures))
        return {name: run.entries[name] for name in names}


def download_groups(
    out: Path,
    groups: Sequence[Sequence[str]],
    options: DownloadOptions | None = None,
    report: Report | None = None,
    *,
    zips_on_disk: int = 6,
) -> Generator[tuple[Path, ...], None, None]:
    """Yield each group's zips once all are whole, while later groups already download. When the next group is asked
    for, this one's zips are deleted: at most `zips_on_disk` zips, finished or not, take up room in `out`.

    Raises as `download` does, at the first failure, and then deletes nothing."""
    largest = max(map(len, groups), default=0)
    if zips_on_disk < largest:
        raise DavidError(f"room for {zips_on_disk} zips, but a group has {largest}: allow that many on the disk")
    with _Run(out, options, report) as run:
        sizes = run.sizes(run.missing([name for group in groups for name in group]))
        run.require_room(sum(sorted(sizes.values())[-zips_on_disk:]))
        coming: list[list[Future]] = []
        for done, group in enumerate(groups):
            while sum(map(len, groups[done : len(coming) + 1])) <= zips_on_disk and len(coming) < len(groups):
                coming.append([run.bring(name) for name in groups[len(coming)]])
            for future in coming[done]:
                future.result()
            paths = tuple(out / name for name in group)
            yield paths
            for path in paths:
                path.unlink()


def check(out: Path, report: Report | None = None, kind: Kind = ZIP) -> dict[str, Entry]:
    """Read every file of `out` that its lock lists; returns those. Raises DavidError that names all that differ."""
    listed = {name: entry for name, entry in lock.load(out / kind.lock).items() if (out / name).exists()}
    report = report or _silent
    differing = []
    for name, entry in listed.items():
        path = out / name

        def watch(done: int, name: str = name, total: int = entry.bytes) -> None:
            report(name, "checking", done, total)

        found = Entry(path.stat().st_size, zipcheck.sha256(path, watch))
        if found.differs(entry):
            differing.append(f"{path}: {contrast(found, entry)}; remove it to download it again")
        report(name, "done", entry.bytes, entry.bytes)
    if differing:
        raise DavidError("\n".join(differing))
    return listed


class _Run:
    """One run over a folder, the only one there: its threads, and what the lock lists."""

    def __init__(self, out: Path, options: DownloadOptions | None, report: Report | None):
        options = options or DownloadOptions()
        self._out, self._report, self._lock_file = out, report or _silent, options.lock_file
        self._kind, self._lock = options.kind, out / options.kind.lock
        self._required = lock.load(options.lock_file) if options.lock_file else None
        self._fetcher = Fetcher(out, options, ZIPS_AT_ONCE, self._report)
        self._zips = ThreadPoolExecutor(ZIPS_AT_ONCE, "zip")
        self._listing = threading.Lock()
        self._asked: dict[str, Future[About]] = {}

    def __enter__(self) -> "_Run":
        self._out.mkdir(parents=True, exist_ok=True)
        self._folder = _enter_alone(self._out)
        try:
            self.entries = lock.load(self._lock) if self._lock.exists() else {}
        except BaseException:
            os.close(self._folder)  # else nobody could enter before this process ends
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._fetcher.remote.stop()
        self._zips.shutdown(cancel_futures=True)
        self._fetcher.close()
        os.close(self._folder)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that are not there, listed and of the listed size. Raises DavidError on a contradiction."""
        missing = []
        for name in dict.fromkeys(names):
            path, entry, required = self._out / name, self.entries.get(name), self._requirement(name)
            if entry and required and entry.differs(required):
                raise DavidError(
                    f"{name}: {self._lock} {contrast(entry, required)} in {self._lock_file}; leave out "
                    "--lock, or remove its entry there"
                )
            if not path.exists() or not entry:
                missing.append(name)
            elif path.stat().st_size != entry.bytes:
                raise DavidError(
                    f"{path}: has {path.stat().st_size:,} bytes, but had {entry.bytes:,} when it came; remove it to "
                    "download it again"
                )
            else:
                partial.clear(path)
                self._report(name, "done", entry.bytes, entry.bytes)
        return missing

    def sizes(self, names: list[str]) -> dict[str, int]:
        """For each zip that is to come, the bytes that it will add to what is on the disk already; as far as told."""
        self._asked = {name: self._fetcher.ask(name) for name in names if not (self._out / name).exists()}
        sizes = {}
        for name, asked in self._asked.items():
            if isinstance(asked.exception(), Unavailable):
                asked.result()
            if not asked.exception():  # else `bring` will raise it
                size, there = asked.result().size, partial.held(self._out / name)
                self._report(name, "waiting", min(there, size or 0), size)
                sizes[name] = max(0, (size or 0) - there)
        return sizes

    def require_room(self, needed: int) -> None:
        free = shutil.disk_usage(self._out).free
        if needed > free:
            raise Unavailable(
                f"{self._out}: {needed / 1e9:,.1f} GB are still to come, but only {free / 1e9:,.1f} GB are free there; "
                "make room, or name fewer files"
            )

    def bring(self, name: str) -> Future[None]:
        return self._zips.submit(self._bring, name)

    def _bring(self, name: str) -> None:
        self._fetcher.remote.go_on()
        if name in self.entries and (self._out / name).exists():
            return
        required = self._requirement(name) or self.entries.get(name)
        if (self._out / name).exists():
            entry = self._fetcher.adopt(name, required)
        else:
            entry = self._fetcher.bring(name, self._asked[name], required)
        partial.clear(self._out / name)
        with self._listing:
            self.entries[name] = entry
            lock.save(self._lock, self.entries)
        self._report(name, "done", entry.bytes, entry.bytes)

    def _requirement(self, name: str) -> Entry | None:
        if self._required is None:
            return None
        if name not in self._required:
            raise DavidError(f"{self._lock_file}: lists no {name}; leave the {self._kind.noun} out, or --lock")
        return self._required[name]


def _enter_alone(folder: Path) -> int:
    """A handle of the folder, locked against other downloads into it until it's closed or its process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise DavidError(f"{folder}: another `david download` is at work there; wait for it, or end it") from error
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):  # NFS knows no locks on folders
            raise
    return handle


def _silent(_name: str, _doing: str, _done: int, _total: int | None) -> None:
    return
