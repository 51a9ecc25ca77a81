"""Which files make a sample, where its user says so: a list (CSV with a header, or JSONL), or patterns of names.

A row names a sample's files, relative to the folder of raw data; a column that is empty says that this sample has none.
A pattern matches files by `*` (within a folder's name or a file's), `**` (over folders too) and `{jpg,png}`; what the
stars of two patterns stand for is what joins two files to one sample.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from david.pack.errors import BadSample, DavidError
from david.pack.shards.schema import SPLIT_NAME

FILES = ("rgb", "depth", "normals", "alpha", "camera")
COLUMNS = (*FILES, "split", "id")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")
_PART = re.compile(r"\*\*/?|\*|\{[^{}]*\}|[^*{]+|\{")


class Row(NamedTuple):
    """One sample as it is listed. where: for errors; files: by kind, relative to the raw folder; id: None where none is
    told; told: what is said of it beside its files."""

    where: str
    files: dict[str, str]
    split: str | None
    id: str | None
    told: str = ""


def rows(path: Path) -> Iterator[Row | BadSample]:
    """The rows of a list; one that makes no sense comes as BadSample.

    Raises DavidError where the file can't be read or has no such header."""
    text = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _of_json(path, text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = tuple(name.strip().lower() for name in next(reader))
    except (StopIteration, csv.Error) as error:
        raise DavidError(f"{path}: an empty list; expected a header of {','.join(COLUMNS)}") from error
    _require_columns(header, f"{path}, line 1")
    return _of_csv(path, header, reader)


def read_text(path: Path) -> str:
    """Of a UTF-8 file. Raises DavidError where it can't be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DavidError(f"{path}: the list can't be read ({told})") from error


def _require_columns(names: Iterable[str], where: str) -> None:
    names = list(names)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "rgb" not in names or len(set(names)) < len(names):
        raise DavidError(
            f"{where}: the columns are {', '.join(names)[:200]}; expected rgb, and each once any of "
            f"{', '.join(COLUMNS[1:])}"
        )


def _of_csv(path: Path, header: tuple[str, ...], reader: Iterator[list[str]]) -> Iterator[Row | BadSample]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadSample(f"{path}, line {reader.line_num}", f"no CSV: {error}")  # type: ignore[attr-defined]
            return
        where = f"{path}, line {reader.line_num}"  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            yield BadSample(where, f"{len(cells)} cells, the header has {len(header)}")
            continue
        yield checked(where, {name: cell.strip() for name, cell in zip(header, cells, strict=True)})


def _of_json(path: Path, text: str) -> Iterator[Row | BadSample]:
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            cells = {str(name).lower(): value for name, value in content.items() if value is not None}
            if any(type(value) not in (str, int) for value in cells.values()):
                raise TypeError("a value is no text")
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            yield BadSample(where, f"no JSON object of texts: {error}")
            continue
        _require_columns({"rgb": None} | cells, where)
        yield checked(where, {name: str(value) for name, value in cells.items()})


def checked(where: str, cells: dict[str, str]) -> Row | BadSample:
    """A row of these cells, by column; BadSample where its paths or its split are none."""
    files = {kind: cells[kind] for kind in FILES if cells.get(kind)}
    if "rgb" not in files:
        return BadSample(where, "names no rgb")
    for kind, name in files.items():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\0" in name:
            return BadSample(where, f"{kind} is `{name[:200]}`, expected a path within the folder of raw data")
        files[kind] = str(PurePosixPath(name))
    split = cells.get("split")
    if split is not None and not SPLIT_NAME.fullmatch(split):
        return BadSample(where, f"the split is `{split[:40]}`, expected a-z, 0-9 and _")
    return Row(where, files, split, cells.get("id") or None)


def lines(path: Path, split: str) -> Iterator[Row | BadSample]:
    """The rows of a text of `rgb depth focal` a line, as those have it who train on NYU Depth V2 and KITTI: a name may
    begin with a slash, and `None` says that there is no depth. What is `told` of a row is its focal length.

    Raises DavidError where the file can't be read."""
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where, words = f"{path}, line {number}", line.split()
        if not words:
            continue
        if len(words) != 3:
            yield BadSample(where, f"{len(words)} words, expected three: rgb, depth and focal length")
            continue
        rgb, depth, focal = words
        files = {"rgb": rgb.lstrip("/")} | ({} if depth == "None" else {"depth": depth.lstrip("/")})
        row = checked(where, files | {"split": split})
        yield row._replace(told=focal) if isinstance(row, Row) else row


def matches(names: Iterable[str], pattern: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """(what the stars stand for, name) of each name that fits a pattern, in order. Raises DavidError where it is
    none."""
    expression = "".join(_piece(part) for part in _PART.findall(pattern))
    compiled = re.compile(expression, re.IGNORECASE)
    if not compiled.groups:
        raise DavidError(f"pattern `{pattern}`: has no *, so that it names one file; expected one such as rgb/*.jpg")
    for name in names:
        if match := compiled.fullmatch(name):
            yield match.groups(), name


def _piece(part: str) -> str:
    if part == "**/":
        return "((?:.*/)?)"
    if part.startswith("*"):
        return "(.*)" if part == "**" else "([^/]*)"
    if part.startswith("{") and part.endswith("}"):
        return f"(?:{'|'.join(re.escape(one) for one in part[1:-1].split(','))})"
    return re.escape(part)


def keyed(rows: list[Row | BadSample]) -> Iterator[tuple[str, Row | BadSample]]:
    """Each row with its key: its id, or the path of its RGB without ending, in letters that a key may have; with a hash
    where that would be another's too."""
    plain = [_plain(row) for row in rows]
    paths: dict[str, set[str]] = {}
    for key, row in zip(plain, rows, strict=True):
        paths.setdefault(key, set()).add(row.files["rgb"] if isinstance(row, Row) else row.where)
    for key, row in zip(plain, rows, strict=True):
        alone = len(paths[key]) == 1 and _KEY.fullmatch(key)
        told = row.files["rgb"] if isinstance(row, Row) else row.where
        yield (key if alone else f"{key[-50:]}-{blake2b(told.encode(), digest_size=4).hexdigest()}"), row


def _plain(row: Row | BadSample) -> str:
    if isinstance(row, BadSample):
        name = row.where
    else:
        name = row.id or str(PurePosixPath(row.files["rgb"]).with_suffix(""))
    return re.sub(r"[^A-Za-z0-9_-]", "_", name.replace("/", "-")).strip("-") or "_"
