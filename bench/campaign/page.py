"""What a campaign found, for people: a line a part, a table for the screen, and one HTML page that stands alone."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table

from david.bench.campaign.part import DONE, Part
from david.pack import tables
from david.pack.errors import shown
from david.pack.files import write_whole

NAME = "campaign.html"
APART = "encoder and decoder of "  # what the names of parts about both begin with
Row = dict[str, Any]

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;background:#fafaf8}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}small,.note{color:#666}
.wide{overflow-x:auto}table{border-collapse:collapse}
td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;vertical-align:top}td.n,th.n{text-align:right}
td:first-child,.n{white-space:nowrap}
td.bar{min-width:10rem}td.bar div{background:#3b6ea5;height:.8rem;margin-top:.3rem}
.done,.ok{color:#2c7a3f}.failed,.broken{color:#b3261e;font-weight:bold}.cut,.skipped,.notes{color:#8a6100}
"""
NAMES = {"both": "david", "plain": "plain trainer"}  # groups of figures, as people call them
STEP_COLUMNS = {  # heading -> group of figures, quantity
    "samples/s": ("step", "rate"),
    "ms a step": ("step", "step"),
    "MFU": ("step", "MFU"),
    "of the matrix rate": ("step", "of the matrix rate"),
    "memory, GB": ("step", "memory"),
    "with its loader, samples/s": ("both", "rate"),
    "waits for data": ("both", "waited"),
}


def value(row: Row, group: str, quantity: str) -> float | None:
    found = row.get("figures", {}).get(group, {}).get(quantity)
    return found["median"] if isinstance(found, dict) and "median" in found else None


def shown_value(found: float | None, quantity: str) -> str:
    if found is None:
        return ""
    if quantity in ("MFU", "waited", "of the matrix rate"):
        return f"{found:.1%}"
    return f"{found:,.1f}"


def headline(row: Row) -> str:
    """What a part found, behind a colon: the rate of a step, or what the part says of itself."""
    said = [shown(row["said"])] if row.get("said") else []
    rate = value(row, "step", "rate")
    if rate is not None:
        waited = value(row, "both", "waited")
        said.insert(0, f"{rate:,.1f} samples/s")
        said += [f"waits {waited:.1%} for data"] if waited is not None else []
    return f": {', '.join(said)}" if said else ""


def table(parts: list[Part], found: dict[str, Row]) -> Table:
    """A line a part, for the screen."""
    made = tables.table("part", "status", "s", "found", right=("s",), words=("found",))
    for part in parts:
        row = found.get(part.name, {})
        seconds = f"{row['seconds']:.0f}" if row else ""
        made.add_row(part.name, row.get("status", "to do"), seconds, headline(row).removeprefix(": "))
    return made


def write(out: Path, parts: list[Part], found: dict[str, Row]) -> Path:
    """`campaign.html` in the campaign's folder."""
    there = [found[part.name] for part in parts if part.name in found]
    first: Row = there[0] if there else {}
    hardware, versions = first.get("hardware", {}), first.get("versions", {})
    where = f"{hardware.get('gpu') or 'no GPU'}, {hardware.get('cores')} cores of an {hardware.get('processor')}"
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    done = sum(row["status"] == DONE for row in there)
    sections = [
        ("Steps", _steps(there)),
        ("Encoder and decoder, each alone", _apart(there)),
        ("Loader", _groups(there, "loader", {"samples/s": "rate", "decode": "decode", "inflate": "inflate"})),
        ("Beside a plain trainer", _groups(there, "plain trainer", {"samples/s": "rate", "waits for data": "waited"})),
        ("Attention, forward and backward", _groups(there, "attention", {"ms": "time"})),
        ("Tests", _tests(there)),
        ("Doctor", _doctor(there)),
    ]
    body = "".join(f"<h2>{title}</h2>{content}" for title, content in sections if content)
    html = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>What {escape(where)} can do</title><style>{STYLE}</style><h1>{escape(where)}</h1>"
        f"<p><small>commit {escape(str(first.get('commit')))}; {escape(told)}</small></p>"
        f"<p>{done} of {len(parts)} parts are done. Each figure is a row of rows.jsonl beside this page.</p>"
        f"{_parts(parts, found)}{body}"
    )
    path = out / NAME
    write_whole(path, html.encode())
    return path


def _parts(parts: list[Part], found: dict[str, Row]) -> str:
    lines = []
    for part in parts:
        row = found.get(part.name, {})
        status = row.get("status", "to do")
        seconds = f"{row['seconds']:.0f}" if row else ""
        said = escape(headline(row).removeprefix(": "))
        lines.append(
            f"<tr><td>{escape(part.name)}</td><td class={status.split()[0]}>{status}</td><td class=n>{seconds}</td>"
            f"<td>{escape(part.asks)}</td><td>{said}</td></tr>"
        )
    return _table("<th>part</th><th>status</th><th class=n>s</th><th>asks</th><th>found</th>", "".join(lines))


def _steps(there: list[Row]) -> str:
    measured = [row for row in there if value(row, "step", "rate") is not None]
    return _bars(measured, lambda row: row["part"], STEP_COLUMNS, lambda row: value(row, "step", "rate"))


def _apart(there: list[Row]) -> str:
    lines = [
        {"part": f"{row['part'].removeprefix(APART)}: {name}", "figures": {name: figures}, "group": name}
        for row in there
        if row["part"].startswith(APART)
        for name, figures in row["figures"].items()
    ]
    quantities = {"ms": "time", "GFLOP/s": "arithmetic", "MFU": "MFU", "of the matrix rate": "of the matrix rate"}
    return _by_group(lines, quantities, "time")


def _groups(there: list[Row], part: str, quantities: dict[str, str]) -> str:
    row = next((row for row in there if row["part"] == part), None)
    groups = row["figures"] if row else {}
    lines = [{"part": NAMES.get(name, name), "figures": {name: groups[name]}, "group": name} for name in groups]
    return _by_group(lines, quantities, next(iter(quantities.values())))


def _by_group(lines: list[Row], quantities: dict[str, str], bar: str) -> str:
    """A line for each group of figures, which each stand under a name of their own."""
    columns = {heading: ("", quantity) for heading, quantity in quantities.items()}
    alike = [line | {"figures": {"": line["figures"][line["group"]]}} for line in lines]
    return _bars(alike, lambda line: line["part"], columns, lambda line: value(line, "", bar))


def _bars(
    lines: list[Row],
    name: Callable[[Row], str],
    columns: dict[str, tuple[str, str]],
    length: Callable[[Row], float | None],
) -> str:
    """A table of figures, with a bar as long as one of them. Columns that no line has a figure for are left out."""
    used = {heading: one for heading, one in columns.items() if any(value(line, *one) is not None for line in lines)}
    if not used:
        return ""
    longest = max((length(line) or 0.0) for line in lines) or 1.0
    heads = "<th></th>" + "".join(f"<th class=n>{escape(heading)}</th>" for heading in used) + "<th></th>"
    drawn = "".join(
        f"<tr><td>{escape(name(line))}</td>"
        + "".join(f"<td class=n>{shown_value(value(line, *one), one[1])}</td>" for one in used.values())
        + f"<td class=bar><div style='width:{100 * (length(line) or 0.0) / longest:.1f}%'></div></td></tr>"
        for line in lines
    )
    return _table(heads, drawn)


def _tests(there: list[Row]) -> str:
    found = next((row["figures"].get("tests", {}) for row in there if row["part"] == "tests"), {})
    lines = (
        f"<tr><td class={'ok' if how == 'passed' else 'broken' if how in ('failed', 'error') else 'notes'}>{how}</td>"
        f"<td>{escape(name)}</td></tr>"
        for name, how in found.items()
    )
    return _table("<th></th><th>test</th>", "".join(lines)) if found else ""


def _doctor(there: list[Row]) -> str:
    found = next((row["figures"] for row in there if row["part"] == "doctor"), {})
    lines = (
        f"<tr><td class={'ok' if one['ok'] else 'broken'}>{'ok' if one['ok'] else 'broken'}</td>"
        f"<td>{escape(name)}</td><td>{escape(shown(one['found']))}<br>"
        f"<small>{escape(shown(one['advice']))}</small></td></tr>"
        for name, one in found.items()
    )
    return _table("<th></th><th>check</th><th>found</th>", "".join(lines)) if found else ""


def _table(heads: str, lines: str) -> str:
    return f"<div class=wide><table><tr>{heads}</tr>{lines}</table></div>"
