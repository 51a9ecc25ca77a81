"""What a network says of a picture as pictures: depth from warm (near) to cold (far), normals with X, Y, Z as red,
green, blue, alpha as grey. The colours are those of `david.pack.look.preview`, made strip by strip, in place, so
that a picture of many megapixels takes little time and memory.

    drawn = drawing.pictures(out)               # {"relative_depth": (H, W, 3) uint8, ...}
    sheet = drawing.side_by_side(rgb, out)      # RGB and all of them, one picture

Metric depth has a bar of its colours with metres at its ends. Where the network says alpha, depth and normals are drawn
where it is above 0.5 alone; the rest is dark.

Legend: H rows, W columns. All pictures are (H, W, 3) uint8 sRGB.
"""

from collections.abc import Iterator

import cv2
import numpy as np

from david.model.predict.fields import DEPTHS, DISPARITY, METRIC, Fields, depth_of
from david.pack.look.preview import INVALID, depth_span

Span = tuple[float, float]

FOREGROUND = 0.5  # alpha above it is drawn
ROWS = 64  # of a strip: what is computed of it stays in a processor's cache
SEEN = 1 << 20  # pixels that a picture's range of depth is taken from, evenly chosen
LONGEST = 65_500  # pixels of a side, the most that a JPEG holds
BAR_LEAST = (64, 96)  # rows and columns that a picture needs for a bar of metres
INK, FONT = (232, 234, 238), cv2.FONT_HERSHEY_SIMPLEX
_WARM = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[..., ::-1].copy()
_WARM[0] = INVALID  # the darkest blue is that of 1, and 0 is what is not drawn


def foreground(fields: Fields, rows: slice = slice(None)) -> np.ndarray | None:
    """(H, W) bool, where depth and normals are drawn; None where alpha is not known, and all is."""
    return None if fields.alpha is None else fields.alpha[rows] > FOREGROUND


def span(fields: Fields, name: str | None = None) -> Span | None:
    """The least and the most of the foreground's depth but for 0.5 % at each end, of a picture of more than a million
    pixels by every n-th row and column; 0, 0 without a foreground. None where depth is not known.

    name: of which depth, by default what `depth_of` says. Pictures are comparable, and a video does not flicker, where
    all are drawn with one span."""
    name = name or depth_of(fields)
    if name is None:
        return None
    step = max(1, round((fields[name].size / SEEN) ** 0.5))
    depth = fields[name][::step, ::step]
    valid = np.ones(depth.shape, bool) if fields.alpha is None else fields.alpha[::step, ::step] > FOREGROUND
    return depth_span(depth, valid)


def pictures(fields: Fields, depth_span: Span | None = None) -> dict[str, np.ndarray]:
    """Every field that can be drawn, by its name. depth_span: the least and the most depth that is told apart, of what
    `depth_of` says, by default `span`'s."""
    return {name: draw(fields, name, depth_span) for name in fields if _drawable(fields[name])}


def draw(fields: Fields, name: str, depth_span: Span | None = None) -> np.ndarray:
    """One field. Relative depth and disparity have no unit: their colours tell what is nearer, not how near."""
    values = fields[name]
    out = np.empty((*values.shape[:2], 3), np.uint8)
    reach = None
    if name in DEPTHS:
        reach = (depth_span if name == depth_of(fields) else None) or span(fields, name)
    for rows in _strips(values):
        inside = foreground(fields, rows)
        if reach:
            near, far = reach if name != DISPARITY else (-reach[1], -reach[0])
            out[rows] = _depth(values[rows] if name != DISPARITY else -values[rows], inside, (near, far))
        elif values.ndim == 3:
            out[rows] = _normals(values[rows], inside)
        else:
            out[rows] = _grey(values[rows])
    if reach and name == METRIC:
        _bar(out, reach)
    return out


def metres(value: float) -> str:
    """As it stands at a bar, to three digits."""
    digits = max(0, 2 - max(0, int(np.floor(np.log10(max(value, 1e-9))))))
    return f"{value:.{digits}f} m"


def _bar(out: np.ndarray, reach: Span) -> None:
    """Into the lower right corner, where the demo's slider shows what is drawn at first: the colours from near to far,
    with metres at both ends and in the middle. Not into a picture that is too small to read it."""
    rows, columns = out.shape[:2]
    if rows < BAR_LEAST[0] or columns < BAR_LEAST[1]:
        return
    size = float(np.clip(min(rows, columns) / 700, 0.28, 2.0))
    pad, high = max(3, round(10 * size)), max(4, round(14 * size))
    near, far = reach
    words = [metres(value) for value in (near, (near + far) / 2, far)]
    wide = [cv2.getTextSize(word, FONT, size, 1)[0] for word in words]
    across = min(columns - 2 * pad, max(sum(one[0] for one in wide) + 4 * pad, columns // 3))
    tall = 3 * pad + high + max(one[1] for one in wide)
    top, left = rows - tall, columns - across - pad
    out[top:, left - pad :] = INVALID
    warmth = np.rint(np.linspace(255, 1, across)).astype(np.uint8)
    out[top + pad : top + pad + high, left : left + across] = cv2.applyColorMap(warmth[None], _WARM)
    places = (left, left + (across - wide[1][0]) // 2, left + across - wide[2][0])
    for word, place in zip(words, places, strict=True):
        cv2.putText(out, word, (place, rows - pad), FONT, size, INK, max(1, round(size)), cv2.LINE_AA)


def side_by_side(rgb: np.ndarray, fields: Fields, depth_span: Span | None = None) -> np.ndarray:
    """RGB and every field that can be drawn in a row, or below each other where the picture is more than twice as wide
    as high; smaller where a side would be longer than a JPEG can be."""
    cells = [rgb, *pictures(fields, depth_span).values()]
    sheet = np.concatenate(cells, axis=1 if rgb.shape[1] <= 2 * rgb.shape[0] else 0)
    shrink = LONGEST / max(sheet.shape)
    if shrink >= 1:
        return sheet
    height, width = (max(1, int(side * shrink)) for side in sheet.shape[:2])
    return cv2.resize(sheet, (width, height), interpolation=cv2.INTER_AREA)


def _drawable(values: np.ndarray) -> bool:
    return values.ndim == 2 or values.shape[2] == 3


def _strips(values: np.ndarray) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, len(values), ROWS))


def _depth(depth: np.ndarray, inside: np.ndarray | None, reach: Span) -> np.ndarray:
    near, far = reach
    warmth = np.subtract(far, depth, dtype=np.float32)
    warmth *= 255 / max(far - near, 1e-6)
    shown = np.rint(np.clip(warmth, 1, 255, out=warmth), out=warmth).astype(np.uint8)
    if inside is not None:
        shown *= inside
    return cv2.applyColorMap(shown, _WARM)


def _normals(normals: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    colours = np.multiply(normals, 127.5, dtype=np.float32)
    colours += 127.5
    drawn = np.rint(np.clip(colours, 0, 255, out=colours), out=colours).astype(np.uint8)
    if inside is not None:
        drawn = cv2.copyTo(drawn, inside.view(np.uint8), np.full_like(drawn, INVALID))
    return drawn


def _grey(share: np.ndarray) -> np.ndarray:
    grey = np.multiply(share, 255, dtype=np.float32)
    grey = np.rint(np.clip(grey, 0, 255, out=grey), out=grey).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
