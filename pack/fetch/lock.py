"""`synthhuman.lock.json`, `models.lock.json`: size and SHA-256 of each file that was downloaded and found whole.

Microsoft publishes no checksums; a lock made by one person lets every other one, and each later run, check for the
same bytes.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from david.pack.errors import DavidError
from david.pack.files import write_whole

NAME = "synthhuman.lock.json"
MODELS_NAME = "models.lock.json"
FORMAT = "david download lock"
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """One file. bytes: its size; sha256: in hex; etag, last_modified: what its server called this version."""

    bytes: int
    sha256: str
    etag: str | None = None
    last_modified: str | None = None

    def differs(self, other: "Entry") -> bool:
        """Whether two entries of one name speak of different bytes."""
        return (self.bytes, self.sha256) != (other.bytes, other.sha256)


def load(path: Path) -> dict[str, Entry]:
    """The entries of a lock file by name. Raises DavidError where it holds none that this version reads."""
    try:
        content = json.loads(path.read_bytes())
        found = content["format"], content["version"]
        if found != (FORMAT, VERSION):
            raise DavidError(f"{path}: holds `{found[0]}` version {found[1]}, this david reads `{FORMAT}` {VERSION}")
        return {name: Entry(**entry) for name, entry in content["zips"].items()}
    except OSError as error:
        raise DavidError(f"{path}: the lock file can't be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DavidError(
            f"{path}: not a lock of david's downloads ({type(error).__name__}: {error}); take another, or remove it"
        ) from error


def save(path: Path, entries: dict[str, Entry]) -> None:
    zips = {name: asdict(entry) for name, entry in sorted(entries.items())}
    write_whole(path, json.dumps({"format": FORMAT, "version": VERSION, "zips": zips}, indent=1).encode() + b"\n")
