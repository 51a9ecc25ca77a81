"""Which files make a sample, where its user says so: a list (CSV, JSONL, or a JSON list), or patterns of names.

A row names a sample's files, relative to the folder of raw data; a column that is empty says that this sample has none.
A list whose columns have other names is read as `columns` says: `rgb=image,depth=depth_bfx`, or `rgb=1,depth=2` for a
CSV without a header; columns that it does not name are passed over then.
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
from typing import Any, NamedTuple

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


def rows(path: Path, columns: str | None = None) -> Iterator[Row | BadSample]:
    """The rows of a list; one that makes no sense comes as BadSample.

    Raises DavidError where the file can't be read or has no such header, or `columns` makes no sense."""
    theirs = renamed(columns)
    text = read_text(path)
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _of_json(path, text, theirs)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    if theirs and all(name.isdecimal() for name in theirs):
        return _of_csv(path, None, reader, {int(name) - 1: ours for name, ours in theirs.items()})
    try:
        header = tuple(name.strip() for name in next(reader))
    except (StopIteration, csv.Error) as error:
        raise DavidError(f"{path}: an empty list; expected a header of {','.join(COLUMNS)}") from error
    if theirs:
        _require_theirs(theirs, header, path)
        return _of_csv(path, header, reader, {header.index(name): ours for name, ours in theirs.items()})
    header = tuple(name.lower() for name in header)
    _require_columns(header, f"{path}, line 1")
    return _of_csv(path, header, reader, dict(enumerate(header)))


def renamed(columns: str | None) -> dict[str, str]:
    """A list's own names of columns -> ours; empty where nothing is said. Raises DavidError where it makes no sense."""
    pairs = [word.partition("=") for word in (columns or "").split(",") if word.strip()]
    theirs = {name.strip(): ours.strip().lower() for ours, _, name in pairs}
    known = "rgb" in theirs.values() and len(set(theirs.values())) == len(pairs) == len(theirs)
    numbers = [name.isdecimal() for name in theirs]
    if columns is not None and not (
        known
        and set(theirs.values()) <= set(COLUMNS)
        and "" not in theirs
        and any(numbers) == all(numbers)
        and "0" not in theirs
    ):
        raise DavidError(
            f"--columns is `{columns}`, but says of rgb, and of any of {', '.join(COLUMNS[1:])}, what a list calls it: "
            "rgb=image,depth=depth_path; or where a CSV without a header has it: rgb=1,depth=2"
        )
    return theirs


def _require_theirs(theirs: dict[str, str], there: Iterable[str], path: Path) -> None:
    if lacking := next((name for name in theirs if name not in there), None):
        raise DavidError(
            f"{path}: has no column `{lacking}`, which --columns says is {theirs[lacking]}; there is "
            f"{', '.join(dict.fromkeys(there))[:200]}"
        )


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
            f"{', '.join(COLUMNS[1:])}; say which are which: --columns rgb=...,depth=..."
        )


def _of_csv(
    path: Path, header: tuple[str, ...] | None, reader: Iterator[list[str]], ours: dict[int, str]
) -> Iterator[Row | BadSample]:
    """ours: the place of a column -> our name of it"""
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
        if header is not None and len(cells) != len(header):
            yield BadSample(where, f"{len(cells)} cells, the header has {len(header)}")
            continue
        if len(cells) <= max(ours):
            yield BadSample(where, f"{len(cells)} cells, --columns names number {max(ours) + 1}")
            continue
        yield checked(where, {name: cells[place].strip() for place, name in ours.items()})


def _of_json(path: Path, text: str, theirs: dict[str, str]) -> Iterator[Row | BadSample]:
    entries = list(_entries(path, text))
    if theirs and entries:
        _require_theirs(theirs, [name for _, one in entries if isinstance(one, dict) for name in one], path)
    for where, content in entries:
        if isinstance(content, ValueError):
            yield BadSample(where, f"no JSON object of texts: {content}")
            continue
        if theirs:
            content = {ours: content[name] for name, ours in theirs.items() if name in content}
        cells = {name.lower(): value for name, value in content.items() if value is not None}
        if any(type(value) not in (str, int) for value in cells.values()):
            yield BadSample(where, "no JSON object of texts: a value is no text")
            continue
        _require_columns({"rgb": None} | cells, where)
        yield checked(where, {name: str(value) for name, value in cells.items()})


def _entries(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    """Where each object stands, and it or why it is none: of a JSON list, or of lines."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, list):
        for number, one in enumerate(content, start=1):
            yield f"{path}, entry {number}", one if isinstance(one, dict) else ValueError("it is no object")
        return
    if isinstance(content, dict) and (lists := [name for name, one in content.items() if _is_list(one)]):
        raise DavidError(
            f"{path}: expected a list of objects, found one object with lists in {', '.join(lists)[:200]}; write each "
            "to a file of its own"
        )
    if isinstance(content, dict):
        yield f"{path}, entry 1", content
        return
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
            if not isinstance(one, dict):
                raise ValueError("it is no object")
        except ValueError as error:
            yield f"{path}, line {number}", error
        except RecursionError:
            yield f"{path}, line {number}", ValueError("it is nested too deep")
        else:
            yield f"{path}, line {number}", one


def _is_list(content: Any) -> bool:
    """Of samples, as a list is, and not of numbers, as a camera may be."""
    return isinstance(content, list) and any(isinstance(one, dict) for one in content)


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

    Raises DavidError where the file can't be read or has no line."""
    text = read_text(path)
    if not text.strip():
        raise DavidError(f"{path}: an empty list; expected lines of rgb, depth and focal length")
    for number, line in enumerate(io.StringIO(text), start=1):
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
