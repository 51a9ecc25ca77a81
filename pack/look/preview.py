"""Samples and predictions as pictures: RGB, depth, normals and alpha side by side.

H rows, W columns. All pictures are (H, W, 3) uint8 sRGB; NumPy and OpenCV only.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from david.pack.errors import DavidError
from david.pack.files import write_whole
from david.pack.shards.sample import Sample

INVALID = np.array([24, 26, 31], np.uint8)  # also the sheet's ground
_INK, _FAINT = (232, 234, 238), (150, 156, 166)
_ORDER = ("depth", "normals", "alpha")
REACH_M = 3.0  # below which people read centimetres; rooms reach farther
MOST_NUMBERS = 31  # bytes up to here are numbers of things, such as planes, and no shades
CELL_PX = 256 * 192  # of a cell of a sheet
LEAST_SHAPE, MOST_SHAPE = 1 / 3, 2.0  # of a cell: rows for each column
SPARSE = 0.5  # of valid pixels and their neighbours, the share of the valid below which they are points
GAP_PX, BAR_PX = 6, 22  # between cells, and the height of a line of text


def depth_span(depth: np.ndarray, valid: np.ndarray) -> tuple[float, float]:
    """The range of the valid pixels but for 0.5 % at each end; 0, 0 where none is.

    depth: (H, W) any unit; valid: (H, W) bool"""
    if not valid.any():
        return 0.0, 0.0
    near, far = np.quantile(depth[valid].astype(np.float32), (0.005, 0.995))
    return float(near), float(far)


def colour_depth(depth: np.ndarray, valid: np.ndarray, span: tuple[float, float] | None = None) -> np.ndarray:
    """Near is warm, far is cold; invalid is dark.

    depth: (H, W) any unit, growing with distance; valid: (H, W) bool
    span: the depths that are warmest and coldest; by default the picture's own, see `depth_span`. Two pictures can be
    compared where they share it"""
    near, far = span or depth_span(depth, valid)
    out = np.tile(INVALID, (*depth.shape, 1))
    share = (far - depth[valid].astype(np.float32)) / max(far - near, 1e-6)
    if share.size:
        warmth = np.round(np.nan_to_num(share).clip(0, 1) * 255).astype(np.uint8)
        out[valid] = cv2.applyColorMap(warmth, cv2.COLORMAP_TURBO).reshape(-1, 3)[:, ::-1]
    return out


def grown(values: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) and bool, where only single pixels are valid, as a laser's: each as 3 x 3, the least over others, so that
    they still show in a small picture. Else as they are."""
    around = np.ones((3, 3), np.uint8)
    wide = cv2.dilate(valid.astype(np.uint8), around) > 0
    if not valid.any() or valid.sum() > SPARSE * wide.sum():
        return values, valid
    least = cv2.erode(np.where(valid, values, np.inf).astype(np.float32), around, borderValue=np.inf)
    return np.where(wide, least, 0).astype(np.float32), wide


def colour_normals(normals: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """X, Y, Z of -1 .. 1 as red, green, blue; what faces the camera is light blue; invalid is dark.

    normals: (H, W, 3); valid: (H, W) bool"""
    colours = np.round(np.nan_to_num(normals.astype(np.float32) * 0.5 + 0.5).clip(0, 1) * 255).astype(np.uint8)
    return np.where(valid[..., None], colours, INVALID)


def colour_alpha(alpha: np.ndarray) -> np.ndarray:
    """Soft foreground as grey. alpha: (H, W) uint8, or float 0 .. 1"""
    grey = alpha if alpha.dtype == np.uint8 else np.round(np.nan_to_num(alpha).clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def colour_numbers(numbers: np.ndarray) -> np.ndarray:
    """Numbers of surfaces, each in a colour of its own, 0 black. numbers: (H, W) uint8"""
    hues = np.arange(256) * 111.25 % 180  # by the golden angle, of OpenCV's 180: neighbours differ
    colours = np.stack([hues, np.full(256, 170), np.full(256, 255)], axis=-1).astype(np.uint8)
    palette = cv2.cvtColor(colours[None], cv2.COLOR_HSV2RGB)[0]
    palette[0] = 0
    return palette[numbers]


def sheet(
    rows: Sequence[Sequence[np.ndarray]],
    labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    cell: tuple[int, int] | None = None,
) -> np.ndarray:
    """Pictures in rows, each fitted into a cell of (rows, columns) pixels with its shape kept; by default a cell has
    the first picture's shape.

    labels: heads of the columns; captions: for each row the texts that stand under it, spread evenly over its width"""
    height, width = cell or cell_of(rows[0][0])
    columns = max(len(row) for row in rows)
    head, foot = BAR_PX * bool(labels), BAR_PX * bool(captions)
    step = height + foot + GAP_PX
    size = head + GAP_PX + len(rows) * step, GAP_PX + columns * (width + GAP_PX)
    canvas = np.tile(INVALID, (*size, 1))
    for column, label in enumerate(labels):
        _write(canvas, label, GAP_PX + column * (width + GAP_PX), head, width, _INK)
    for number, row in enumerate(rows):
        top = head + GAP_PX + number * step
        for column, picture in enumerate(row):
            fitted = _fit(picture, height, width)
            left = GAP_PX + column * (width + GAP_PX) + (width - fitted.shape[1]) // 2
            down = top + (height - fitted.shape[0]) // 2
            canvas[down : down + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        texts = captions[number] if captions else ()
        for place, text in enumerate(texts):
            room = (size[1] - GAP_PX) // len(texts)
            _write(canvas, text, GAP_PX + place * room, top + height + foot, room - GAP_PX, _FAINT)
    return canvas


def cell_of(picture: np.ndarray) -> tuple[int, int]:
    """Rows and columns of a cell for pictures of this one's shape: of one area for all, and neither very long nor very
    high."""
    shape = min(max(picture.shape[0] / picture.shape[1], LEAST_SHAPE), MOST_SHAPE)
    return round((CELL_PX * shape) ** 0.5), round((CELL_PX / shape) ** 0.5)


def names(samples: Iterable[Sample]) -> list[str]:
    """The fields that some sample has, in the order in which people compare them: depth, normals, alpha, others."""
    there = dict.fromkeys(name for sample in samples for name in sample.values)
    return [*(name for name in _ORDER if name in there), *(name for name in there if name not in _ORDER)]


def pictures(sample: Sample, names: Iterable[str]) -> list[np.ndarray]:
    """RGB and these fields of a sample."""
    return [sample.rgb, *(picture(sample, name) for name in names)]


def picture(sample: Sample, name: str) -> np.ndarray:
    """A field of a sample, drawn by what it holds; a sample without it gives a dark picture."""
    if name not in sample.values:
        return np.tile(INVALID, (*sample.rgb.shape[:2], 1))
    value, valid = sample.value(name), sample.valid(name)
    if value.ndim == 3:
        return colour_normals(value, valid)
    if value.dtype == np.uint8:
        drawn = colour_numbers(value) if name != "alpha" and 0 < value.max() <= MOST_NUMBERS else colour_alpha(value)
        return np.where(valid[..., None], drawn, INVALID)
    return colour_depth(value, valid)


def title(name: str) -> str:
    """A field's name, with what its colours mean."""
    return {"depth": "depth, near is warm"}.get(name, name)


def span(metres: np.ndarray) -> str:
    """From the least to the most of these lengths, for people: in centimetres where all are within reach."""
    least, most = float(metres.min()), float(metres.max())
    return f"{100 * least:.1f} to {100 * most:.1f} cm" if most < REACH_M else f"{least:.2f} to {most:.2f} m"


def caption(sample: Sample) -> str:
    """A sample's id, scenario and range of depth."""
    told = ""
    if "depth" in sample.values:
        depths = sample.depth_m[sample.depth_valid]
        told = span(depths) if len(depths) else "nothing valid"
    return "  ".join(part for part in (sample.key, str(sample.meta.get("scenario") or ""), told) if part)


def contact_sheet(samples: Iterable[Sample], path: Path, cell: tuple[int, int] | None = None) -> None:
    """Write a PNG with RGB and all fields of each sample, so many samples side by side that it fits a screen.

    Raises DavidError where there is no sample."""
    shown = list(samples)
    if not shown:
        raise DavidError(f"{path}: no samples to show")
    cell = cell or cell_of(shown[0].rgb)
    height, width = cell[0] + BAR_PX + GAP_PX, (1 + len(names(shown))) * (cell[1] + GAP_PX)
    write_png(path, contact_sheet_of(shown, cell, _across(len(shown), height, width)))


def contact_sheet_of(samples: Sequence[Sample], cell: tuple[int, int], across: int) -> np.ndarray:
    """RGB and all fields of each sample, `across` samples side by side: (H, W, 3) uint8."""
    fields = names(samples)
    shown = [(pictures(sample, fields), caption(sample)) for sample in samples]
    lines = [shown[start : start + across] for start in range(0, len(shown), across)]
    return sheet(
        rows=[[one for row, _ in line for one in row] for line in lines],
        labels=["rgb", *map(title, fields)] * across,
        captions=[[text for _, text in line] + [""] * (across - len(line)) for line in lines],
        cell=cell,
    )


def _across(count: int, height: int, width: int) -> int:
    """How many of `count` cells stand side by side where the whole is nearest to 4:3."""
    shapes = {across: across * width / (-(-count // across) * height) for across in range(1, count + 1)}
    return min(shapes, key=lambda across: abs(np.log(shapes[across] * 3 / 4)))


def write_png(path: Path, picture: np.ndarray) -> None:
    """A picture as a PNG file, whole or absent; the folder is made where it lacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, png(picture))


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()


def _fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture as large as it fits into height x width."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _write(canvas: np.ndarray, text: str, left: int, bottom: int, width: int, ink: tuple[int, int, int]) -> None:
    """Draw one line that ends above `bottom`, smaller where it is longer than `width`."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.45
    (length, _), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, width / max(length, 1))
    cv2.putText(canvas, text, (left, bottom - 6), font, scale, ink, 1, cv2.LINE_AA)
