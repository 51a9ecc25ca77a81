"""The report of a shard set for people: a table for the screen, and one HTML page with a plot for each figure."""

from html import escape
from pathlib import Path

from rich.table import Table

from david.pack.files import write_whole
from david.pack.histogram import Histogram
from david.pack.manifest import Manifest
from david.pack.report import PRECISION_EVERY, Report

NAME = "report.html"

MEANING = {
    "valid_share": "share of the pixels where depth means something",
    "nearest_cm": "depth of a sample's nearest pixel, cm",
    "median_cm": "median depth of a sample, cm",
    "farthest_cm": "depth of a sample's farthest pixel, cm",
    "normals_x_agrees": "share of pixels on which normals' X has the sign of the depth gradient",
    "normals_y_agrees": "share of pixels on which normals' Y has the sign of the depth gradient",
    "normals_face_camera": "share of pixels whose normal faces the camera",
    "normals_worst_length": "length of the normal that is farthest from 1",
    "alpha_covers_valid": "share of valid pixels with alpha above 0",
    "alpha_beyond_valid": "share of all pixels with alpha above 0 where depth is background",
    "rgb_levels": "error of RGB, levels of 255",
    "rgb_psnr_db": "PSNR of a sample's RGB, dB (100: exact)",
    "alpha_levels": "error of alpha, levels of 255",
    "depth_cm": "error of depth, cm",
    "normals_degrees": "error of normals, degrees",
    "validity_pixels": "pixels whose validity, of depth or normals, changed (1) or not (0)",
}

LOW_TAIL = {  # where a low value is the bad one; of every other figure it is a high one
    *("valid_share", "normals_x_agrees", "normals_y_agrees", "normals_face_camera", "alpha_covers_valid"),
    "rgb_psnr_db",
}
TAIL = 0.001  # of the values lie beyond the tail that is told

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;background:#fafaf8}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(21rem,1fr));gap:1rem}
figure{margin:0;padding:.8rem;background:#fff;border:1px solid #e3e3df;border-radius:6px}
figcaption{font-size:.85rem}svg{width:100%;height:5rem}rect{fill:#3b6ea5}
small{color:#666}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}
"""


def tables(dataset: Manifest) -> list[Table]:
    """Geometry (one value a sample) and precision (one value a pixel) with median, bad tail and extremes."""
    report = Report.from_json(dataset.report)
    measured = f"precision of {report.measured:,} samples (one in {PRECISION_EVERY}) decoded again"
    drawn = []
    for title, group in (("geometry", report.geometry), (measured, report.precision)):
        table = Table(title=title, title_justify="left")
        for heading in ("figure", "least", "median", "bad tail", "most", "meaning"):
            table.add_column(heading, overflow="fold")
        for name, one in group.items():
            if one.counts.any():
                least, median, (told, tail), most = _numbers(name, one)
                table.add_row(name, least, median, f"{told} {tail}", most, MEANING[name])
        drawn.append(table)
    return drawn


def _numbers(name: str, one: Histogram) -> tuple[str, str, tuple[str, str], str]:
    """Least, median, the bad tail with its name, most."""
    share = TAIL if name in LOW_TAIL else 1 - TAIL
    tail = f"p{100 * share:g}", f"{one.quantile(share):.4g}"
    return f"{one.least:.4g}", f"{one.quantile(0.5):.4g}", tail, f"{one.most:.4g}"


def write(dataset: Manifest) -> Path:
    """`report.html` beside the manifest."""
    report = Report.from_json(dataset.report)
    rows = "".join(
        f"<tr><td>{escape(split)}</td><td>{dataset.samples(split):,} samples</td><td>{len(shards)} shards</td>"
        f"<td>{sum(one.bytes for one in shards) / 1e9:,.3f} GB</td></tr>"
        for split, shards in dataset.splits.items()
    )
    bad = "".join(f"<li>{escape(one['where'])}: {escape(one['reason'])}</li>" for one in dataset.quarantined)
    page = (
        f"<!doctype html><meta charset=utf-8><title>pack report</title>"
        f"<style>{_STYLE}</style><h1>What packing saw</h1><table>{rows}</table>"
        f"<p><small>{escape(dataset.fingerprint)}</small></p>"
        f"<h2>Geometry, one value a sample</h2><div class=grid>{_plots(report.geometry)}</div>"
        f"<h2>Precision of {report.measured:,} samples decoded again, one value a pixel</h2>"
        f"<div class=grid>{_plots(report.precision)}</div>"
        f"<h2>Quarantined: {len(dataset.quarantined)}</h2><ul>{bad}</ul>"
    )
    path = dataset.folder / NAME
    write_whole(path, page.encode())
    return path


def _plots(group: dict[str, Histogram]) -> str:
    return "".join(_plot(name, one) for name, one in group.items() if one.counts.any())


def _plot(name: str, one: Histogram) -> str:
    """Bars over the bins from the first to the last that is not empty."""
    used = one.counts.nonzero()[0]
    counts = one.counts[used[0] : used[-1] + 1]
    width, top = 100 / len(counts), counts.max()
    bars = "".join(
        f'<rect x="{place * width:.2f}" y="{40 - 40 * count / top:.2f}" width="{width * 0.92:.2f}" '
        f'height="{40 * count / top:.2f}"><title>{one.edges[used[0] + place]:.4g} to '
        f"{one.edges[used[0] + place + 1]:.4g}: {count:,}</title></rect>"
        for place, count in enumerate(counts.tolist())
    )
    least, median, (told, tail), most = _numbers(name, one)
    return (
        f'<figure><svg viewBox="0 0 100 40" preserveAspectRatio="none">{bars}</svg><figcaption><b>{escape(name)}</b> '
        f"{escape(MEANING[name])}<br><small>least {least}, median {median}, {told} {tail}, most {most}</small>"
        "</figcaption></figure>"
    )
