"""What can be saved of a picture that was predicted: one row for each kind of file, `--save NAME`.

Every kind is a function of the picture, what the network said of it at its size, and how it is shown. A file is
`STEM_KIND.ENDING` in the folder of outputs.

Legend: H rows, W columns, of the picture.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import simplejpeg

from david.model.predict import drawing
from david.model.predict.fields import DEPTHS, FIELDS, METRIC, Fields, depth_of
from david.model.predict.points import Camera, ply, points
from david.pack.errors import DavidError

STEPS = 65535  # of the depth PNG
A_METRE = 1000  # steps of a metre in that of metric depth
JPEG_QUALITY = 95
# Noise-free maps: runs, one row above as the guess. As small as zlib's default of OpenCV, in less time.
FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
        cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How pictures are shown. background: R, G, B under a composite; camera: of points"""

    background: tuple[int, int, int] = (255, 255, 255)
    camera: Camera = field(default_factory=Camera)


@dataclass(frozen=True)
class Shot:
    """One picture that was predicted. rgb: (H, W, 3) uint8; fields: at its size; depth_span: of its colours, and
    depth_range: of its depth PNG, beyond which depth is cut off: by default the picture's own"""

    rgb: np.ndarray
    fields: Fields
    look: Look = field(default_factory=Look)
    depth_span: drawing.Span | None = None
    depth_range: drawing.Span | None = None


@dataclass(frozen=True)
class Kind:
    """A row. needs: fields, all of which a network must say; ending: of the file, behind the input's stem; write: its
    bytes; about: for people; depth: whether it needs one of `fields.DEPTHS` besides"""

    needs: tuple[str, ...]
    ending: str
    write: Callable[[Shot], bytes]
    about: str
    depth: bool = False


def png(pixels: np.ndarray) -> bytes:
    """(H, W) uint8 or uint16, (H, W, 3) RGB or (H, W, 4) RGBA uint8, whose bytes are all that the file says."""
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    return cv2.imencode(".png", pixels, FAST)[1].tobytes()


def exr(channels: dict[str, np.ndarray]) -> bytes:
    """Float32 channels, (H, W) each, lossless."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.scanlineimage}
    file = io.BytesIO()
    planes = {name: np.ascontiguousarray(plane) for name, plane in channels.items()}
    OpenEXR.File(header, planes, num_threads=0).write(file)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def npz(fields: Fields) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **fields)
    return file.getvalue()


def depth_range(fields: Fields) -> list[float] | None:
    """The least and the most depth of a picture: where it is relative, 0 and 65535 of the depth PNG."""
    name = depth_of(fields)
    return None if name is None else [float(fields[name].min()), float(fields[name].max())]


def depth(fields: Fields) -> np.ndarray:
    """(H, W), of fields that have some."""
    name = depth_of(fields)
    assert name is not None  # `require` looked
    return fields[name]


def _picture(shot: Shot) -> bytes:
    sheet = drawing.side_by_side(shot.rgb, shot.fields, shot.depth_span)
    return simplejpeg.encode_jpeg(sheet, quality=JPEG_QUALITY, colorsubsampling="444")


def _depth(shot: Shot) -> bytes:
    """Metric depth in millimetres, 65535 for what is farther; other depth from its least to its most."""
    values = depth(shot.fields)
    least, scale = 0.0, float(A_METRE)
    if depth_of(shot.fields) != METRIC:
        least, most = shot.depth_range or depth_range(shot.fields) or (0.0, 0.0)
        scale = STEPS / max(most - least, 1e-12)
    steps = np.empty(values.shape, np.uint16)
    for start in range(0, len(values), drawing.ROWS):
        rows = slice(start, start + drawing.ROWS)
        steps[rows] = np.rint((values[rows] - np.float64(least)) * scale).clip(0, STEPS)
    return png(steps)


def _depth_exr(shot: Shot) -> bytes:
    return exr({"Y": depth(shot.fields)})


def _normals(shot: Shot) -> bytes:
    return png(drawing.draw(Fields({"normals": shot.fields["normals"]}), "normals"))


def _normals_exr(shot: Shot) -> bytes:
    x, y, z = cv2.split(shot.fields["normals"])
    return exr({"R": x, "G": y, "B": z})


def _grey(alpha: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(alpha, alpha=255)


def _alpha(shot: Shot) -> bytes:
    return png(_grey(shot.fields["alpha"]))


def _cutout(shot: Shot) -> bytes:
    return png(cv2.merge([*cv2.split(shot.rgb), _grey(shot.fields["alpha"])]))


def _composite(shot: Shot) -> bytes:
    out, under = np.empty_like(shot.rgb), np.array(shot.look.background, np.float32)
    for start in range(0, len(out), drawing.ROWS):
        rows = slice(start, start + drawing.ROWS)
        over = shot.rgb[rows].astype(np.float32)
        over -= under
        over *= shot.fields["alpha"][rows][..., None]
        over += under
        out[rows] = np.rint(over, out=over)
    return png(out)


def _points(shot: Shot) -> bytes:
    return ply(points(shot.rgb, shot.fields, shot.look.camera))


KINDS: dict[str, Kind] = {
    "picture": Kind((), "_picture.jpg", _picture, "all side by side, JPEG"),
    "depth": Kind((), "_depth.png", _depth, "16-bit PNG: mm, or its range in predictions.jsonl", depth=True),
    "depth-exr": Kind((), "_depth.exr", _depth_exr, "float32, channel Y; metres where it is metric", depth=True),
    "depth-npy": Kind((), "_depth.npy", lambda shot: npy(depth(shot.fields)), "float32", depth=True),
    "normals": Kind(("normals",), "_normals.png", _normals, "PNG, R, G, B = X, Y, Z as 127.5 n + 127.5"),
    "normals-exr": Kind(("normals",), "_normals.exr", _normals_exr, "float32, R, G, B = X, Y, Z"),
    "alpha": Kind(("alpha",), "_alpha.png", _alpha, "8-bit grey PNG"),
    "cutout": Kind(("alpha",), "_cutout.png", _cutout, "RGBA PNG, colours as they are"),
    "composite": Kind(("alpha",), "_composite.png", _composite, "PNG on --background"),
    "points": Kind((), "_points.ply", _points, "point cloud, PLY, by --fov or --intrinsics", depth=True),
    "npz": Kind((), "_fields.npz", lambda shot: npz(shot.fields), "all arrays under their names, float32"),
}
DEFAULT = ("picture",)


def chosen(words: Iterable[str] | None) -> tuple[str, ...]:
    """The kinds that were asked for, each once, in the table's order: `--save` repeated, or with commas; by default
    `picture`. Raises DavidError for what is none."""
    asked = {name for word in words or DEFAULT for name in word.split(",")}
    if unknown := sorted(asked - set(KINDS)):
        raise DavidError(f"--save {unknown[0]}: there are {', '.join(KINDS)}")
    return tuple(name for name in KINDS if name in asked)


def require(names: Sequence[str], fields: Sequence[str], who: str) -> None:
    """Raise DavidError where a network, `who`, does not say what a kind needs. fields: that it says"""
    for name in names:
        if KINDS[name].depth and depth_of(fields) is None:
            raise DavidError(f"--save {name} needs {' or '.join(DEPTHS)}, but {who} says {', '.join(fields)} alone")
        if lacking := [one for one in KINDS[name].needs if one not in fields]:
            raise DavidError(f"--save {name} needs {lacking[0]}, but {who} says {', '.join(fields)} alone")
    if "picture" in names and not set(FIELDS) & set(fields):
        raise DavidError(f"--save picture draws {', '.join(FIELDS)}, but {who} says {', '.join(fields)} alone")


def possible(fields: Sequence[str]) -> list[str]:
    """The kinds that a network which says these fields can be saved as."""
    has_depth = depth_of(fields) is not None
    return [name for name, kind in KINDS.items() if set(kind.needs) <= set(fields) and (has_depth or not kind.depth)]


def needed(names: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    """The fields that these kinds are made of: no other is brought to a picture's size."""
    if {"picture", "npz"} & set(names):
        return tuple(fields)
    wanted = {one for name in names for one in KINDS[name].needs}
    if any(KINDS[name].depth for name in names) and (found := depth_of(fields)):
        wanted.add(found)
    if "points" in names:
        wanted |= {"normals", "alpha"}
    return tuple(name for name in fields if name in wanted)


def background(text: str) -> tuple[int, int, int]:
    """R, G, B of a colour's name, `#rrggbb` or `R,G,B`. Raises DavidError where it is none."""
    from PIL import ImageColor

    try:
        if text.count(",") == 2 and not text.startswith(("rgb", "hsl", "hsv")):
            text = f"rgb({text})"
        red, green, blue = ImageColor.getcolor(text, "RGB")  # type: ignore[misc]  # three, for this mode
        if not all(0 <= one <= 255 for one in (red, green, blue)):
            raise ValueError("beyond 0 .. 255")
    except ValueError as error:
        raise DavidError(
            f"--background `{text}`: expected a name such as white, #rrggbb, or R,G,B of 0 to 255"
        ) from error
    return int(red), int(green), int(blue)


def facts(shot: Shot) -> dict[str, Any]:
    """What a line of the record says of a picture besides its files."""
    height, width = shot.rgb.shape[:2]
    reach = depth_range(shot.fields)
    unit = "depth_range_m" if depth_of(shot.fields) == METRIC else "depth_range"
    return {"size": [height, width], "fields": list(shot.fields), **({unit: reach} if reach else {})}
