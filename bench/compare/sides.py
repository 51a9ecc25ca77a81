"""The rows that are named for a comparison: those of a file, one row of it, or those of a commit."""

from pathlib import Path
from typing import Any, NamedTuple

from david.bench import rows
from david.pack.errors import DavidError

Row = dict[str, Any]
EARLIER, NEWEST = "earlier", "newest"


class Side(NamedTuple):
    """What stands in one column. name: for people; rows: oldest first"""

    name: str
    rows: list[Row]


def sides(named: list[str], commits: list[str]) -> list[Side]:
    """named: files of rows, each as `FILE` or `FILE@N`, its N-th row, -1 the last; commits: the rows of each, by the
    beginning of its name, in all the files.

    A file alone is compared with itself: its newest row of each suite with those before. Raises DavidError where a file
    holds no rows, or none of a commit."""
    if commits:
        every = [row for one in named for row in _read(one)]
        return [Side(commit, _of(commit, every, named)) for commit in commits]
    found = [Side(one, _read(one)) for one in named]
    if len(found) > 1:
        return found
    newest = {row["suite"]: row for row in found[0].rows}
    earlier = [row for row in found[0].rows if row is not newest[row["suite"]]]
    if not earlier:
        raise DavidError(f"{named[0]}: a row of each suite, and none before it; name a second file, or FILE@N")
    return [Side(EARLIER, earlier), Side(NEWEST, list(newest.values()))]


def _of(commit: str, every: list[Row], named: list[str]) -> list[Row]:
    if chosen := [row for row in every if str(row.get("commit")).startswith(commit)]:
        return chosen
    there = ", ".join(dict.fromkeys(str(row.get("commit")) for row in every))
    raise DavidError(f"--commit {commit}: no row of it in {', '.join(named)}; there are {there}")


def _read(named: str) -> list[Row]:
    name, _, number = named.rpartition("@")
    if Path(named).exists() or not name:
        name, number = named, ""
    found = rows.measured(Path(name), name)
    if not number:
        return found
    places = {str(place): row for place, row in enumerate(found, 1)} | {"-1": found[-1]}
    if number not in places:
        raise DavidError(f"{named}: it has rows 1 to {len(found)}, and -1 for the last")
    return [places[number]]
