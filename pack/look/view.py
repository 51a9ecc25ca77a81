"""`david view PATH`: a page that shows samples, or a run's pictures, in any browser and without a server.

The page is one file with its pictures inside: RGB and all fields side by side, the sample's numbers, search
and filters by split and scenario, arrow keys to step, a zoom that all pictures share, the depth under the cursor.
"""

import base64
import json
from collections.abc import Iterator
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from david.pack.errors import DavidError, shown
from david.pack.files import make_folder, require_place, write_whole
from david.pack.look import preview
from david.pack.shards import dataset, manifest
from david.pack.shards.sample import Sample
from david.pack.sources import table

TITLES = {"normals": "normals: X red, Y green, Z blue"}
WEBP_QUALITY = 80  # a run's sheet of 6 MB as PNG takes a tenth to a twentieth, and its text stays sharp
SCRIPT, STYLE = Path(__file__).with_name("view.js"), Path(__file__).with_name("view.css")


def samples(
    path: Path, start: int, count: int, split: str | None = None, source: str | None = None
) -> list[tuple[str, Sample]]:
    """(split, sample) of a shard set, a raw folder or a zip, from position `start` on; raw data has the split `raw`,
    and is of `source`, guessed without one.

    Raises DavidError where nothing of the kind is there, or no sample at that position."""
    found = list(islice(_of_shards(path, start, split) if is_shards(path) else _of_raw(path, start, source), count))
    if not found:
        raise DavidError(f"{path}: no sample at position {start} there; begin with a smaller --start-idx")
    return found


def is_shards(path: Path) -> bool:
    return (path / manifest.NAME).exists()


def _of_shards(path: Path, start: int, split: str | None) -> Iterator[tuple[str, Sample]]:
    there = manifest.load(path)
    wanted = [split] if split else [name for name, shards in there.splits.items() if shards]
    for name in wanted:
        yield from ((name, sample) for sample in dataset.read(path, name, start=start))
        start = max(0, start - there.samples(name))


def _of_raw(path: Path, start: int, name: str | None) -> Iterator[tuple[str, Sample]]:
    source = table.chosen(path, name)
    for key, entry in islice(source.scan(path).items(), start, None):
        yield "raw", source.load(key, entry)


def gallery(path: Path, out: Path, start: int, count: int, split: str | None = None, source: str | None = None) -> int:
    """Write the page of a shard set, raw data or a run's folder; returns how many entries it shows.

    Raises OSError, before anything is looked at, where it can't be written."""
    require_place(out.parent)
    entries = (
        _run_entries(path)
        if is_run(path)
        else [entry(where, s) for where, s in samples(path, start, count, split, source)]
    )
    write(out, path.name, entries)
    return len(entries)


def is_run(path: Path) -> bool:
    return (path / "recipe.json").exists() and (path / "pictures").is_dir()


def _run_entries(path: Path) -> list[dict[str, Any]]:
    """A run's sheets, first to last, and its loss curve."""
    pictures = [*sorted((path / "pictures").glob("*.png")), *path.glob("loss.png")]
    if not pictures:
        raise DavidError(f"{path}: a run without pictures so far; look again after its first steps")
    return [
        {
            "name": one.stem,
            "split": "run",
            "scenario": "",
            "pictures": [_sheet(one)],
            "titles": [one.stem],
        }
        for one in pictures
    ]


def entry(split: str, sample: Sample, pictured: bool = True) -> dict[str, Any]:
    """What the page needs of one sample; without `pictured` whoever asks adds `titles` and `pictures`."""
    fields = preview.names([sample])
    numbers = {
        "size": f"{sample.rgb.shape[1]} x {sample.rgb.shape[0]}",
        **{name: _told(sample, name) for name in fields},
        "intrinsics": "none" if sample.intrinsics is None else json.dumps(np.round(sample.intrinsics, 2).tolist()),
        "from": str(sample.meta.get("source", {}).get("archive", "")),
    }
    told: dict[str, Any] = {
        "name": sample.key,
        "split": split,
        "scenario": sample.meta.get("scenario") or "",
        "numbers": numbers,
        "depth": _depth(sample),
    }
    if pictured:
        told["titles"] = ["rgb", *(TITLES.get(name, name) for name in fields)]
        told["pictures"] = [_picture(picture) for picture in preview.pictures(sample, fields)]
    return told


def _told(sample: Sample, name: str) -> str:
    """A field in numbers."""
    value, valid = sample.value(name), sample.valid(name)
    share = f"{valid.mean():.1%} of the pixels"
    if not valid.any():
        return "none"
    if value.ndim == 3:
        return share
    if value.dtype == np.uint8:
        return f"mean {value.mean() / 255:.3f}"
    return f"{preview.span(value[valid] * sample.step_m)}, {share}"


def _depth(sample: Sample) -> dict[str, Any] | None:
    """Depth for the cursor, as view.js reads it, and the ends of the colour scale; None where nothing is valid."""
    if "depth" not in sample.values or not sample.depth_valid.any():
        return None
    depth_m, valid = sample.depth_m, sample.depth_valid
    least, most = float(depth_m[valid].min()), float(depth_m[valid].max())
    near, far = preview.depth_span(depth_m, valid)
    share = np.where(valid, depth_m - least, 0) / max(most - least, 1e-9)
    levels = np.where(valid, 1 + np.round(share * 254), 0).astype(np.uint8)
    grey = _data(cv2.imencode(".png", levels)[1].tobytes(), "png")
    return {"levels": grey, "least_m": least, "most_m": most, "near_m": near, "far_m": far}


def _sheet(path: Path) -> str:
    """A picture of a run as a data URL, WebP."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise DavidError(f"{path}: not a picture that can be read; take it away, or draw it again")
    return _webp(picture)


def small(picture: np.ndarray, longest: int) -> str:
    """(H, W, 3) uint8 as a data URL, WebP, shrunk to where its longer side has `longest` pixels at most."""
    scale = longest / max(picture.shape[:2])
    if scale < 1:
        size = [max(1, round(length * scale)) for length in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return _webp(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _webp(bgr: np.ndarray) -> str:
    return _data(cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])[1].tobytes(), "webp")


def _picture(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 as a data URL, JPEG."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return _data(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes(), "jpeg")


def _data(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def write(out: Path, title: str, entries: list[dict[str, Any]], compared: dict[str, Any] | None = None) -> None:
    """Write the page of these entries. compared: who is compared on it, see `compared.py`"""
    page = _page(title, entries, compared)
    make_folder(out.parent)
    write_whole(out, page.encode())


def _script(value: Any) -> str:
    """JSON as a script takes it; `<` is escaped so that no text of a sample can end the script."""
    return json.dumps(value).replace("<", "\\u003c")


def _page(title: str, entries: list[dict[str, Any]], compared: dict[str, Any] | None) -> str:
    near_to_far = np.linspace(0, 1, 9, dtype=np.float32)[None]
    colours = ",".join(f"rgb({r},{g},{b})" for r, g, b in preview.colour_depth(near_to_far, near_to_far >= 0)[0])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(shown(title))}</title>"
        f"<style>{STYLE.read_text()}:root{{--depth:linear-gradient(to right,{colours})}}</style>"
        "<header><b id=place></b><input id=search type=search placeholder='search (/)'><span id=filters></span>"
        "<output id=readout></output><small>← → Home End: step; click, + and -: zoom; Esc: whole</small></header>"
        "<main><div id=pictures></div><table id=scores></table><table id=numbers></table></main><nav id=strip></nav>"
        f"<script>const compared={_script(compared)};\nconst entries={_script(entries)};\n"
        f"{SCRIPT.read_text()}</script>\n"
    )
