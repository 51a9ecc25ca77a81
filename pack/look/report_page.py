"""The report of a shard set for people: a table for the screen, and one HTML page with a plot for each figure."""

import base64
from html import escape
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from rich.table import Table

from david.pack.check.conventions import LEAST_FACING, LEAST_SHARE
from david.pack.check.histogram import Histogram
from david.pack.check.report import PIXELS, PRECISION_EVERY, Report
from david.pack.errors import DavidError, shown
from david.pack.files import write_whole
from david.pack.look import preview
from david.pack.shards import dataset as shard_set
from david.pack.shards import manifest
from david.pack.shards.manifest import Manifest
from david.pack.tables import table

NAME = "report.html"

MEANING = {
    "valid_share": "share of the pixels where depth means something",
    "nearest_m": "depth of a sample's nearest pixel, m",
    "median_m": "median depth of a sample, m",
    "farthest_m": "depth of a sample's farthest pixel, m",
    "normals_x_agrees": "share of pixels on which normals' X has the sign of the depth gradient",
    "normals_y_agrees": "share of pixels on which normals' Y has the sign of the depth gradient",
    "normals_face_camera": "share of pixels whose normal faces the camera",
    "normals_worst_length": "length of the normal that is farthest from 1",
    "alpha_covers_valid": "share of valid pixels with alpha above 0",
    "alpha_beyond_valid": "share of all pixels with alpha above 0 where depth is background",
    "rgb_levels": "error of RGB, levels of 255",
    "rgb_psnr_db": "PSNR of a sample's RGB, dB (100: exact)",
    "validity_pixels": "pixels whose validity, of any field, changed (1) or not (0)",
}
ERROR = {"levels": "levels of 255", "m": "m", "degrees": "degrees"}  # by the unit that a figure's name ends in

ODD = {
    "depth_not_finite": "depth is not a finite number: the pixel is invalid",
    "depth_not_positive": "depth is 0 or negative: the pixel is invalid",
    "depth_outlying": "depth lies far from the sample's others: the pixel is invalid",
    "normals_not_finite": "a normal is not a finite number: the pixel has none",
    "normals_zero": "a normal of length 0: the pixel has none",
    "normals_not_unit": "a normal that is not of length 1: the pixel has none",
    "full_frame": "no pixel is background",
    "few_pixels": "too few pixels to compare normals with slopes",
    "against_slopes": f"normals follow the depth's slopes on less than {LEAST_SHARE:.0%} of the surface",
    "facing_away": f"less than {LEAST_FACING:.0%} of the normals face the camera",
    "alpha_missing": "alpha is 0 on more than 1% of the valid pixels",
    "no_intrinsics": "no intrinsics",
}

LOW_TAIL = {  # where a low value is the bad one; of every other figure it is a high one
    *("valid_share", "normals_x_agrees", "normals_y_agrees", "normals_face_camera", "alpha_covers_valid"),
    "rgb_psnr_db",
}
THUMBNAILS, THUMBNAIL_PX = 8, (160, 120)  # how many samples the page shows, and the rows and columns of each picture
TICKS = 5  # on the axis of a plot
TAIL = 0.001  # of the values lie beyond the tail that is told

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;background:#fafaf8}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem}
figure{margin:0;padding:.8rem;background:#fff;border:1px solid #e3e3df;border-radius:6px}
figcaption{font-size:.85rem;margin-top:.4rem}small{color:#666}
svg{display:block;width:100%;height:5rem;border-bottom:1px solid #999}rect{fill:#3b6ea5}
.ticks{display:flex;justify-content:space-between;font-size:.75rem;color:#666}
.wide{overflow-x:auto}.wide img{width:100%;min-width:40rem}
table{border-collapse:collapse}td,th{padding:.15rem 1.2rem .15rem 0;text-align:left}
"""


def meaning(name: str) -> str:
    """What a figure tells; of precision it is told by the field and the unit in its name."""
    field, _, unit = name.rpartition("_")
    return MEANING.get(name) or (f"error of {field}, {ERROR[unit]}" if unit in ERROR else "")


def tables(dataset: Manifest) -> list[Table]:
    """Figures of samples (one value each) and precision (one value a pixel) with median, bad tail and extremes; and
    what was odd, where anything was. For `tables.show`."""
    report = report_of(dataset)
    measured = f"precision of samples that were decoded again, one in {PRECISION_EVERY}: {report.measured:,}"
    drawn = []
    for title, group in (("samples", report.evidence), (measured, report.precision)):
        headings = ("least", "median", "bad tail", "most")
        one_group = table("figure", *headings, "meaning", title=title, right=headings, words=("meaning",))
        for name, one in group.items():
            if one.counts.any():
                least, median, (told, tail), most = _numbers(name, one)
                one_group.add_row(name, least, median, f"{told} {tail}", most, meaning(name))
        if one_group.row_count:
            drawn.append(one_group)
    if odd := _odd(report):
        headings = ("samples", "pixels")
        kept = table("odd", *headings, "meaning", title="odd, kept and counted", right=headings, words=("meaning",))
        for row in odd:
            kept.add_row(*row)
        drawn.insert(1, kept)
    return drawn


def _odd(report: Report) -> list[tuple[str, str, str, str]]:
    """Rows of name, samples, pixels and meaning for what was found odd."""
    return [
        (name, f"{samples:,}", f"{pixels:,}" if name in PIXELS else "", ODD.get(name, ""))
        for name, (samples, pixels) in report.odd.items()
        if samples
    ]


def report_of(dataset: Manifest) -> Report:
    """What packing saw of a set. Raises DavidError where its manifest holds something else."""
    try:
        return Report.from_json(dataset.report) if dataset.report else Report()
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise DavidError(
            f"{dataset.folder / manifest.NAME}: its report is none of packing ({type(error).__name__}: {error})"
        ) from error


def _numbers(name: str, one: Histogram) -> tuple[str, str, tuple[str, str], str]:
    """Least, median, the bad tail with its name, most."""
    share = TAIL if name in LOW_TAIL else 1 - TAIL
    tail = f"p{100 * share:g}", f"{one.quantile(share):.4g}"
    return f"{one.least:.4g}", f"{one.quantile(0.5):.4g}", tail, f"{one.most:.4g}"


def write(dataset: Manifest) -> Path:
    """`report.html` beside the manifest."""
    report = Report.from_json(dataset.report)
    rows = "".join(
        f"<tr><td>{escape(split)}</td><td>{dataset.samples(split):,}</td><td>{len(shards):,}</td>"
        f"<td>{sum(one.bytes for one in shards) / 1e9:,.3f} GB</td></tr>"
        for split, shards in dataset.splits.items()
    )
    odd = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in _odd(report))
    told = (shown(f"{one['where']}: {one['reason']}") for one in dataset.quarantined)
    bad = "".join(f"<li>{escape(one)}</li>" for one in told)
    accepted = "".join(f"<li>{escape(shown(str(one)))}</li>" for one in report.accepted)
    said = f"<h2>Accepted though it looks wrong</h2><ul>{accepted}</ul>" if accepted else ""
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>What packing saw</title><style>{_STYLE}</style><h1>What packing saw</h1>"
        f"<table><tr><th>split</th><th>samples</th><th>shards</th><th>size</th></tr>{rows}</table>"
        f"<p><small>content {escape(dataset.fingerprint)}</small></p>{said}"
        f"<h2>The first samples</h2>{_thumbnails(dataset)}"
        f"<h2>Samples, one value each</h2><div class=grid>{_plots(report.evidence)}</div>"
        "<h2>Odd samples, kept and counted</h2>"
        f"<table><tr><th>what</th><th>samples</th><th>pixels</th><th>meaning</th></tr>{odd}</table>"
        f"<h2>Precision: what {report.measured:,} samples lost by packing (one in {PRECISION_EVERY} is decoded again), "
        f"one value a pixel</h2><div class=grid>{_plots(report.precision)}</div>"
        f"<h2>Set aside as bad: {len(dataset.quarantined):,}</h2><ul>{bad}</ul>"
    )
    path = dataset.folder / NAME
    write_whole(path, page.encode())
    return path


def _thumbnails(dataset: Manifest) -> str:
    """The first samples of the first split, as a picture; a set that can't be read says so in its place."""
    split = next((name for name, shards in dataset.splits.items() if shards), None)
    try:
        shown = list(islice(shard_set.samples(dataset, dataset.split(split)), THUMBNAILS)) if split else []
    except DavidError as error:
        return f"<p>{escape(str(error))}</p>"
    if not shown:
        return "<p>no samples</p>"
    sheet = preview.contact_sheet_of(shown, cell=THUMBNAIL_PX, across=2)
    jpeg = cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    data = base64.b64encode(jpeg).decode()
    return f'<div class=wide><img alt="the first samples" src="data:image/jpeg;base64,{data}"></div>'


def _plots(group: dict[str, Histogram]) -> str:
    return "".join(_plot(name, one) for name, one in group.items() if one.counts.any())


def _plot(name: str, one: Histogram) -> str:
    """Bars over the bins from the first to the last that is not empty, with ticks below and the counts told."""
    used = one.counts.nonzero()[0]
    counts, edges = one.counts[used[0] : used[-1] + 1], one.edges[used[0] : used[-1] + 2]
    width, top = 100 / len(counts), counts.max()
    bars = "".join(
        f'<rect x="{place * width:.2f}" y="{40 - 40 * count / top:.2f}" width="{width * 0.92:.2f}" '
        f'height="{40 * count / top:.2f}"><title>{edges[place]:.4g} to {edges[place + 1]:.4g}: {count:,}</title></rect>'
        for place, count in enumerate(counts.tolist())
    )
    marks = np.interp(np.linspace(0, len(counts), TICKS), np.arange(len(edges)), edges)
    ticks = "".join(f"<span>{mark:.3g}</span>" for mark in marks)
    least, median, (told, tail), most = _numbers(name, one)
    return (
        f'<figure><svg viewBox="0 0 100 40" preserveAspectRatio="none">{bars}</svg><div class=ticks>{ticks}</div>'
        f"<figcaption><b>{escape(name)}</b> {escape(MEANING.get(name, ''))}<br><small>{counts.sum():,} values, "
        f"{top:,} in the tallest bar; least {least}, median {median}, {told} {tail}, most {most}</small>"
        "</figcaption></figure>"
    )
