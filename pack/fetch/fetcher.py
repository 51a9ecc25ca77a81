"""One file from a server, whole: fetched in parts over several connections, checked, mended, and only then named.

A damaged zip is mended once by fetching just the parts around the members whose CRC-32 is wrong, and once by fetching
all of it again. A server that refuses ranges is read in one stream, from the beginning after each break.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from david.pack.errors import DavidError
from david.pack.fetch.answers import About, Unavailable
from david.pack.fetch.kinds import ZIP, Kind
from david.pack.fetch.lock import Entry
from david.pack.fetch.partial import Partial
from david.pack.fetch.remote import Changed, Patience, RangesRefused, Remote
from david.pack.raw import zipcheck

ATTEMPTS = 3
KEPT = "what has arrived is kept: run the same command again to go on"

# name, what is being done, bytes done, bytes in all or None; called from many threads
Report = Callable[[str, str, int, int | None], None]


@dataclass(frozen=True)
class DownloadOptions:
    """base_url: the folder that holds the files, none for their publisher's; lock_file: sizes and SHA-256s that they
    must have; connections: in all; part_bytes: what a kill loses at most on each connection; kind: of files."""

    base_url: str = ""
    lock_file: Path | None = None
    connections: int = 8
    part_bytes: int = 32 << 20
    patience: Patience = field(default_factory=Patience)
    kind: Kind = ZIP

    def __post_init__(self) -> None:
        if self.connections < 1 or self.part_bytes < 1:
            raise DavidError(
                f"{self.connections} connections and parts of {self.part_bytes} bytes: both must be at least 1"
            )


class Fetcher:
    """Brings files into the folder `out`, several at a time where it's called from several threads."""

    def __init__(self, out: Path, options: DownloadOptions, zips_at_once: int, report: Report):
        self.out, self._options, self._report = out, options, report
        self._kind, self._base_url = options.kind, (options.base_url or options.kind.base_url).rstrip("/")
        self.remote = Remote(self._base_url, options.connections + zips_at_once, options.patience, KEPT)
        self._connections = ThreadPoolExecutor(options.connections, "connection")

    def close(self) -> None:
        """End what is under way."""
        self.remote.stop()
        self._connections.shutdown(cancel_futures=True)

    def about(self, name: str) -> About:
        """What the server says of a file."""
        return self.remote.about(self._url(name), lambda trouble: self._report(name, trouble, 0, None))

    def ask(self, name: str) -> Future[About]:
        """The same, asked side by side."""
        return self._connections.submit(self.about, name)

    def bring(self, name: str, asked: Future[About], required: Entry | None) -> Entry:
        """Fetch, check and name one file; raises DavidError, also where it is not as `required`, or Stopped."""
        about = asked.result()
        for _ in range(ATTEMPTS):
            try:
                return self._bring(name, about, required)
            except Changed:
                about = self.about(name)
        raise DavidError(f"{self._url(name)}: changes at the server while it is being read; try again later")

    def adopt(self, name: str, required: Entry | None) -> Entry:
        """Check a file that is there already, from elsewhere or from a run killed just before it was listed."""
        path = self.out / name
        if self._damage(name, path):
            raise DavidError(f"{path}: is there already, but isn't a whole {self._kind.noun}; remove it to download it")
        found = self._entry(name, path)
        if required and found.differs(required):
            raise DavidError(f"{path}: {contrast(found, required)}; remove it to download it")
        return found

    def _url(self, name: str) -> str:
        return f"{self._base_url}/{name}"

    def _bring(self, name: str, about: About, required: Entry | None) -> Entry:
        url = self._url(name)
        if required and about.size not in (None, required.bytes):
            raise DavidError(
                f"{url}: has {about.size:,} bytes, but the lock says {required.bytes:,}; the server has another version"
            )
        with Partial(self.out / name, about, self._options.part_bytes) as part:
            for attempt in range(ATTEMPTS):
                self._fill(name, about, part)
                damage = self._damage(name, part.path)
                if not damage:
                    break
                part.lose(damage if attempt == 0 else [(0, part.path.stat().st_size)])
            else:
                raise DavidError(
                    f"{url}: {ATTEMPTS} times in a row what arrived was no whole {self._kind.noun}; try again "
                    "later, or another --base-url"
                )
            found = replace(self._entry(name, part.path), etag=about.etag, last_modified=about.last_modified)
            if required and found.differs(required):
                raise DavidError(
                    f"{url}: {contrast(found, required)}; the server has another version, kept as {part.path.name}; to "
                    "accept it, run without --lock, or remove its entry from the lock"
                )
            part.complete()
        return found

    def _fill(self, name: str, about: About, part: Partial) -> None:
        """Fetch the missing parts, or where ranges are refused everything in one stream."""
        if about.ranges:
            try:
                self._fill_parts(name, about, part)
            except RangesRefused:
                about = replace(about, ranges=False)
        if part.missing:
            self._connections.submit(self._fill_at_once, name, about, part).result()

    def _fill_parts(self, name: str, about: About, part: Partial) -> None:
        received = {number: part.length(number) if number in part.done else 0 for number in range(len(part.parts))}

        def say(doing: str) -> None:
            self._report(name, doing, sum(received.values()), about.size)

        def fetch(number: int) -> None:
            start, stop = part.parts[number]

            def write(offset: int, data: bytes) -> None:
                part.write(offset, data)
                received[number] = offset + len(data) - start
                say("downloading")

            self.remote.fetch(self._url(name), about, start, stop, write, say)
            part.finish([number])

        jobs = [self._connections.submit(fetch, number) for number in part.missing]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            wait([job for job in jobs if not job.cancel()])  # none writes on after this

    def _fill_at_once(self, name: str, about: About, part: Partial) -> None:
        received = 0

        def say(doing: str) -> None:
            self._report(name, doing, received, about.size)

        def write(offset: int, data: bytes) -> None:
            nonlocal received
            part.write(offset, data)
            received = offset + len(data)
            say("downloading")

        self.remote.fetch(self._url(name), about, 0, about.size, write, say)
        part.cut(received)
        part.finish(part.missing)

    def _damage(self, name: str, path: Path) -> list[tuple[int, int]]:
        with _readable(path):
            return self._kind.damage(path, self._watch(name, path, 0))

    def _entry(self, name: str, path: Path) -> Entry:
        with _readable(path):
            return Entry(path.stat().st_size, zipcheck.sha256(path, self._watch(name, path, 1)))

    def _watch(self, name: str, path: Path, passes: int) -> Callable[[int], None]:
        """For the check's first pass (is it whole) and its second (SHA-256): report, and end with the run."""
        size = path.stat().st_size

        def watch(done: int) -> None:
            self.remote.go_on()
            self._report(name, "checking", (passes * size + done) // 2, size)

        return watch


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{path}: can't be read back ({error.strerror})") from error


def contrast(found: Entry, listed: Entry) -> str:
    return (
        f"has {found.bytes:,} bytes and SHA-256 {found.sha256}, but the lock says {listed.bytes:,} bytes and "
        f"{listed.sha256}"
    )
