"""What a source of raw data is: a new data set is a subclass in a file of its own and one row in `table.SOURCES`.

A source's own options are the fields of its dataclass; `david pack` sets them by name, writes them into the manifest,
and compares them before it goes on with an earlier run.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from david.pack.check.conventions import Convention
from david.pack.errors import BadSample
from david.pack.raw import archive
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.sample import Sample
from david.pack.shards.schema import Fields

Raw = Path | list[Path]  # a folder or a file; or some zips


@dataclass(frozen=True)
class Source:
    """Raw data of one layout. Units and axes are converted in `decode` and nowhere else.

    name: as `--source` has it; checks: what it promises of its samples, judged over many (see `conventions.py`)"""

    name: ClassVar[str]
    checks: ClassVar[tuple[Convention, ...]] = ()

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        """Whether `raw` is unmistakably of this layout, without a look at all of it."""
        return False

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        """All samples under `raw`: key -> what is listed of it, in order. A key holds no dot, slash or blank; each
        entry has a member `rgb`, and its split, where the source tells one.

        Raises DavidError where there are none, BadSample where one is not whole; with `bad` such samples are left out
        and put there under their keys."""
        raise NotImplementedError

    def fields(self, found: Found) -> Fields:
        """The table of fields of these samples, rgb first."""
        raise NotImplementedError

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        """One sample from the bytes of its members. Raises BadSample that names the member and what was found."""
        raise NotImplementedError

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        """The bytes of one sample's members. Raises BadSample for one that can't be read whole, or is larger than one
        of so many pixels can be."""
        return {kind: archive.read(member) for kind, member in entry.members.items()}

    def crc32(self, member: Member) -> int:
        """Of a member's bytes, where its archive does not list it. Raises BadSample where they can't be read."""
        return archive.crc32_of_file(member)

    def load(self, key: str, entry: Entry, max_pixels: int = MAX_PIXELS) -> Sample:
        """Read, decode and convert one sample. Raises BadSample that names the member and what was found."""
        return self.decode(key, entry, self.read(entry, max_pixels), max_pixels)

    def options(self) -> dict[str, Any]:
        """What decides the bytes beside the raw data, as JSON: options that are not their defaults. Of a path only the
        name counts, for what it lists is in the raw data's digest."""
        told = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {name: value.name if isinstance(value, Path) else value for name, value in told.items()}
