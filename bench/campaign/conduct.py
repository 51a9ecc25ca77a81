"""A campaign from begin to end: each part in a child with a limit, its row kept as it ends, the page written anew.

The folder holds `rows.jsonl`, a row a part; `campaign.html`; `campaign.json`, what the campaign is of; `logs/`, what
parts printed; `data/`, what was drawn. The same command on it goes on with the parts that no row says `done` of.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from david.bench import rows
from david.bench.campaign import page
from david.bench.campaign.part import CUT, DONE, FAILED, SKIPPED, Outcome, Part
from david.bench.child import Child, Cut, Failed
from david.pack import alone
from david.pack.errors import DavidError
from david.pack.files import make_folder, write_whole

ROWS, ABOUT, LOCK = "rows.jsonl", "campaign.json", ".campaign.lock"
HERE_S = 120.0  # that a process has to say what this machine is
PAGE_S = 3.0  # that are kept for the last page and table
SUITE = "campaign"


def conduct(
    out: Path,
    parts: list[Part],
    here: dict[str, Any],
    device: str,
    shards: Path | None,
    until: float,
    told: Callable[[str], None],
    asked: str = "auto",
) -> list[dict[str, Any]]:
    """Work on `parts` until `until` (`time.time`), and return the newest row of each that has one.

    here: what every row says of this machine (`rows.here`); told: hears a line as a part begins, and one as it ends;
    asked: for which device, where `device` is what was found of it.
    Raises DavidError where another campaign is at work in `out`, or it holds that of another machine or data."""
    make_folder(out / "logs")
    try:
        with alone.alone(out / LOCK, wait=False):
            agree(out, {"hardware": here["hardware"], "device": device, "shards": shards and str(shards.absolute())})
            for number, part in enumerate(waiting := left(out, parts)):
                say = f"[{number + 1}/{len(waiting)}] {part.name}"
                limit_s = part.limit_s(until - PAGE_S - time.time())
                told(f"{say}: {part.asks}, at most {limit_s:.0f} s" if limit_s else f"{say}: no time is left")
                given = {"folder": str(out), "shards": shards and str(shards), "device": device, "asked": asked}
                outcome = work(part, given, limit_s, out / "logs" / f"{file_name(part)}.log")
                row = rows.row(
                    SUITE,
                    outcome.figures,
                    here,
                    **{"part": part.name, "asks": part.asks, "status": outcome.status, "said": outcome.said},
                    **{"seconds": round(outcome.seconds, 1), "limit_s": round(limit_s, 1), "device": device},
                    **outcome.about,
                )
                rows.append(out / ROWS, row)
                page.write(out, parts, newest(out))
                told(f"{say}: {outcome.status} after {outcome.seconds:.0f} s{page.headline(row)}")
            page.write(out, parts, newest(out))
            return [row for part in parts if (row := newest(out).get(part.name))]
    except alone.Held as error:
        raise DavidError(f"{out}: another campaign is at work there; wait for it, or name another folder") from error


def work(part: Part, given: dict[str, Any], limit_s: float, log: Path) -> Outcome:
    """What becomes of a part within its limit; none is too little to begin."""
    if not limit_s:
        return Outcome(SKIPPED, f"the time ran out before it; it asks for {part.least_s:.0f} s at least")
    begin, outcome = time.monotonic(), Outcome(DONE)
    arguments = {"given": given | {"until": time.time() + limit_s}, **part.how}
    with Child(part.work, arguments, log) as child:
        try:
            while (told := child.hear(begin + limit_s - time.monotonic())) is not None:
                outcome.hear(told)
        except Cut:
            had = "; what it had found by then is kept" if outcome.figures else ""
            outcome.status, outcome.said = CUT, f"it was ended after {limit_s:.0f} s{had}"
        except Failed as error:
            outcome.status, outcome.said = FAILED, str(error)
    outcome.seconds = time.monotonic() - begin
    return outcome


def machine(device: str, log: Path | None = None) -> tuple[dict[str, Any], str]:
    """What this machine is, for every row, and what the campaign computes on: `cuda` where `auto` finds a GPU."""
    with Child("david.bench.campaign.work:here", {}, log) as child:
        try:
            here = child.hear(HERE_S)
        except Failed as error:
            raise DavidError(f"torch does not work here: {error}; ask david doctor") from error
    if device == "cuda" and not here["hardware"]["gpu"]:
        raise DavidError("--device cuda: torch has no GPU here; david doctor says why")
    return here, "cuda" if device != "cpu" and here["hardware"]["gpu"] else "cpu"


def agree(out: Path, about: dict[str, Any]) -> None:
    """Note what a campaign is of. Raises DavidError where the folder holds one of something else."""
    path = out / ABOUT
    try:
        there = json.loads(path.read_text())
    except FileNotFoundError:
        write_whole(path, json.dumps(about, indent=2).encode())
        return
    except ValueError as error:
        raise DavidError(f"{path}: not what a campaign writes there ({error}); name another folder") from error
    if not isinstance(there, dict):
        raise DavidError(f"{path}: not what a campaign writes there; name another folder")
    for name, now in about.items():
        if there.get(name) != now:
            raise DavidError(f"{path}: {name} is {there.get(name)} there and {now} now; name another folder")


def newest(out: Path) -> dict[str, dict[str, Any]]:
    """The newest row of each part."""
    return {row["part"]: row for row in rows.read(out / ROWS) if row.get("suite") == SUITE and "part" in row}


def left(out: Path, parts: list[Part]) -> list[Part]:
    """The parts that are not done: those that never began first, then those that failed or were cut."""
    found = newest(out)
    status = {part.name: found.get(part.name, {}).get("status", SKIPPED) for part in parts}
    untried = [part for part in parts if status[part.name] == SKIPPED]
    return untried + [part for part in parts if status[part.name] in (FAILED, CUT)]


def shares(parts: list[Part], left_s: float) -> list[tuple[Part, float]]:
    """What each part would be given if all before it took all of theirs; 0 for those that would be skipped."""
    found = []
    for part in parts:
        limit_s = part.limit_s(left_s)
        found.append((part, limit_s))
        left_s -= limit_s
    return found


def file_name(part: Part) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in part.name)
