"""What was found, on one HTML page that stands alone: shares, what steps waited for, their times, and some of them."""

from collections import Counter
from collections.abc import Iterable
from html import escape
from statistics import median
from typing import Any

from david.bench.campaign.page import STYLE
from david.bench.explain.account import Account, slowest, verdict
from david.bench.explain.check import Checked
from david.bench.explain.chrome import name_of
from david.bench.explain.path import STAGES, stage
from david.bench.explain.show import errors, numbers
from david.pack.errors import shown

SHOWN = 3  # steps of a timeline
BINS = 40  # of the histogram
COLOURS = dict(
    zip(
        STAGES,
        (
            *("#1f4e79", "#3b6ea5", "#6f9bc8", "#2a9d8f", "#74c2a9", "#a9b8c9", "#5b5ea6"),
            *("#e9a13b", "#d9773b", "#b3442e", "#8a2be2", "#7a5c3e"),
            *("#8a8a6a", "#c06c9b", "#d8a6c0", "#9b3d6e", "#c9c9c2"),
        ),
        strict=True,
    )
)
IDLE = "#ececE8"
WAITS = ("wait", "hold", "prepare", "images")

_MORE = """
.row{display:flex;align-items:center;gap:.6rem;margin:2px 0}.row b{flex:0 0 9rem;font-weight:normal;text-align:right}
.row svg{flex:1;height:1rem;background:#fff}.path svg{height:1.5rem}.row output{flex:0 0 4rem}
.times svg{width:100%;height:9rem;border-bottom:1px solid #999;background:#fff}
.ticks{display:flex;justify-content:space-between;font-size:.75rem;color:#666}
.key span{display:inline-block;margin-right:1rem}
.key i{display:inline-block;width:.8rem;height:.8rem;margin-right:.3rem}
"""


def page(found: Account, facts: str, checked: list[Checked]) -> str:
    """facts: what it was measured on"""
    recipe = found.ran.recipe
    said = f"{recipe.name}: {recipe.batch_size} samples a step, {found.samples_per_s:,.1f} samples/s"
    sections = [
        ("Shares of the critical path", _shares(found.shares)),
        ("What the trainer waited for", _waits(found)),
        ("Times of steps", _times(found)),
        *([("What if", _ifs(checked))] if checked else []),
        *_timelines(found),
    ]
    body = "".join(f"<section><h2>{escape(title)}</h2>{content}</section>" for title, content in sections)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>What bounds training here</title><style>{STYLE}{_MORE}</style><h1>{escape(said)}</h1>"
        f"<p id=verdict>{escape(verdict(found))}</p><p><small>{escape(shown(facts))}</small></p>{body}"
        f"<p><small>{len(found.steps)} steps. Recording took {found.cost:.2%} of their time. trace.json beside this "
        "page opens in Perfetto.</small></p>"
    )


def _shares(shares: dict[str, float]) -> str:
    longest = max(shares.values())
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td class=n>{share:.2%}</td><td class=bar>"
        f"<div style='width:{100 * share / longest:.1f}%;background:{COLOURS.get(name, IDLE)}'></div></td></tr>"
        for name, share in sorted(shares.items(), key=lambda one: -one[1])
    )
    return (
        "<p>Of the time of a step in a long run, what it would have to be shorter for training to be faster. Together "
        "100%.</p><div class=wide><table id=shares><tr><th>stage</th><th class=n>share</th><th></th></tr>"
        f"{lines}</table></div>"
    )


def _waits(found: Account) -> str:
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td class=n>{share:.2%}</td></tr>" for name, share in found.waited.items() if share
    )
    return (
        f"<p>{sum(found.waited.values()):.1%} of the time the trainer waited for a batch, while the threads that made "
        "that batch were at:</p><div class=wide><table id=waits><tr><th>stage</th><th class=n>of the time</th></tr>"
        f"{lines}</table></div>"
    )


def _times(found: Account) -> str:
    took = found.took_ms()
    least, most = min(took), max(took)
    width = (most - least) / BINS or 1.0
    counts = Counter(min(BINS - 1, int((one - least) / width)) for one in took)
    high = max(counts.values())
    bars = "".join(
        f"<rect x={25 * place} y={100 - 100 * count / high:.1f} width=24 height={100 * count / high:.1f} fill=#3b6ea5>"
        f"<title>{count} steps of {least + place * width:.1f} to {least + (place + 1) * width:.1f} ms</title></rect>"
        for place, count in sorted(counts.items())
    )
    ticks = "".join(f"<span>{least + part * (most - least):,.1f} ms</span>" for part in (0, 0.25, 0.5, 0.75, 1))
    lines = "".join(_slow(one) for one in slowest(found))
    said = (
        f"<div class=wide><table id=slowest><tr><th class=n>step</th><th class=n>ms</th><th class=n>of the median</th>"
        f"<th>had more of</th></tr>{lines}</table></div>"
        if lines
        else "<p>No step took much longer than the others.</p>"
    )
    return (
        f"<div class=times><svg id=times viewBox='0 0 {25 * BINS} 100' preserveAspectRatio=none>{bars}</svg>"
        f"<div class=ticks>{ticks}</div></div><p>The median step took {median(took):,.1f} ms.</p>{said}"
    )


def _slow(one: dict[str, Any]) -> str:
    more = ", ".join(f"{name} (+{ms:,.1f} ms)" for name, ms in one["more_ms"].items())
    return (
        f"<tr><td class=n>{one['step']}</td><td class=n>{one['ms']:,.1f}</td><td class=n>{one['times']:.2f} times</td>"
        f"<td>{escape(more)}</td></tr>"
    )


def _ifs(checked: list[Checked]) -> str:
    lines = "".join(
        f"<tr><td>{escape(one.what.text)}</td>{''.join(f'<td class=n>{number}</td>' for number in numbers(one))}"
        f"<td>{escape(one.predicted.bound)}</td></tr>"
        for one in checked
    )
    return (
        f"<p>Samples/s by replaying the record with something else. {errors(checked)}</p><div class=wide><table id=ifs>"
        "<tr><th>if</th><th class=n>predicted</th><th class=n>measured</th><th class=n>error</th><th>bound by</th></tr>"
        f"{lines}</table></div>"
    )


def _timelines(found: Account) -> Iterable[tuple[str, str]]:
    """Some usual steps one after the other, and the one that took longest."""
    took = found.took_ms()
    usual = min(
        range(max(1, len(took) - SHOWN + 1)),
        key=lambda first: sum(abs(ms - median(took)) for ms in took[first : first + SHOWN]),
    )
    last = min(len(took), usual + SHOWN)
    names = f"Steps {found.ran.first + usual + 1} to {found.ran.first + last}, as most are"
    yield names, _key() + _timeline(found, usual, last)
    if slow := slowest(found):
        number = slow[0]["step"] - found.ran.first - 1
        yield f"Step {slow[0]['step']}, which took longest", _timeline(found, number, number + 1)


def _key() -> str:
    spans = "".join(f"<span><i style='background:{colour}'></i>{name}</span>" for name, colour in COLOURS.items())
    return f"<p class=key>{spans}<span><i style='background:{IDLE}'></i>waits</span></p>"


def _timeline(found: Account, first: int, last: int) -> str:
    """A row for the path, and one for each thread that did anything meanwhile."""
    tracks = found.ran.tracks
    begin, end = found.bounds_ns[first], found.bounds_ns[last]
    scale = 1000 / (end - begin)

    def drawn(name: str, pieces: Iterable[tuple[int, int, str, str]], kind: str = "") -> str:
        rects = "".join(
            f"<rect x={(start - begin) * scale:.2f} y=0 width={max(0.3, (stop - start) * scale):.2f} height=10 "
            f"fill='{colour}'><title>{escape(said)}, {(stop - start) / 1e6:.2f} ms</title></rect>"
            for start, stop, said, colour in pieces
        )
        svg = f"<svg viewBox='0 0 1000 10' preserveAspectRatio=none>{rects}</svg>" if rects else ""
        return f"<div class='row {kind}'><b>{escape(name)}</b>{svg}</div>" if rects else ""

    parts = ((max(one.start_ns, begin), min(one.end_ns, end), one.stage) for one in found.path)
    path = [(start, stop, name, COLOURS.get(name, IDLE)) for start, stop, name in parts if stop > start]
    rows = [drawn("critical path", path, "path")]
    for thread in [
        tracks.trainer,
        *sorted(set(tracks.pieces) - {tracks.trainer}, key=lambda one: one != tracks.loader),
    ]:
        pieces = [
            (start, stop, span.name, IDLE if span.name in WAITS else COLOURS.get(stage(span.name), IDLE))
            for start, stop, span in tracks.overlapping(thread, begin, end)
        ]
        rows.append(drawn(name_of(tracks, thread), pieces))
    ticks = "".join(f"<span>{part * (end - begin) / 1e6:,.1f} ms</span>" for part in (0, 0.25, 0.5, 0.75, 1))
    axis = f"<div class=row><b></b><div class=ticks style='flex:1'>{ticks}</div></div>"
    return f"<div class=timeline>{''.join(rows)}{axis}</div>"
