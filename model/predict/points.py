"""Depth as points in space, and points as the bytes of a PLY file.

Metric depth is the distance along the optical axis, Z, in metres: given intrinsics, points are where they are. Relative
depth is known up to a scale and a shift. To stand in space it needs both, and they are chosen so:

    Z = 1 + RELIEF * W * (d - near) / (far - near)

The nearest of what is shown (but for 0.5 %) lies at distance 1, so all lengths are in units of that distance; and from
there to the farthest (but for 0.5 %) it is RELIEF times as deep as it is wide, W, at distance 1. That is a guess which
suits people. Of relative disparity, which is linear in 1 / Z, the nearest and the farthest stand there too, and what is
between them lies by 1 / Z. Where metric depth is wanted, a network of metric depth is needed.

Axes: X right, Y down, Z along the camera's view, as intrinsics have them in computer vision; normals are turned to the
same axes. H rows, W columns, N points. Pixels' centres are at half-integers.
"""

from dataclasses import dataclass

import numpy as np

from david.model.predict import drawing
from david.model.predict.fields import DISPARITY, METRIC, Fields, depth_of
from david.pack.errors import DavidError

CHOSEN = "comment relative depth: scale and shift are chosen"
RELIEF = 0.5  # depth of what is shown, of its width
NEAREST = 0.05  # no point lies nearer, however deep the relief is behind it
TO_CAMERA_AXES = np.array([1, -1, -1], np.float32)  # of normals: Y up and Z towards the camera to Y down and Z away


@dataclass(frozen=True)
class Camera:
    """Where pixels look: a field of view, in degrees across the picture's longer side, or intrinsics in pixels."""

    fov_degrees: float = 60.0
    intrinsics: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.fov_degrees <= 170:
            raise DavidError(f"--fov {self.fov_degrees:g}: expected degrees from 1 to 170, across the longer side")
        if self.intrinsics and not (np.isfinite(self.intrinsics).all() and min(self.intrinsics[:2]) > 0):
            raise DavidError(f"--intrinsics {self.intrinsics}: focal lengths must be above 0")

    @classmethod
    def parse(cls, fov_degrees: float | None, intrinsics: str | None) -> "Camera":
        """From the words of a command line. Raises DavidError where they are none, or both are given."""
        if fov_degrees is not None and intrinsics is not None:
            raise DavidError("--fov and --intrinsics both say where pixels look; give one of them")
        if intrinsics is None:
            return cls() if fov_degrees is None else cls(fov_degrees)
        try:
            fx, fy, cx, cy = map(float, intrinsics.split(","))
        except ValueError as error:
            raise DavidError(f"--intrinsics `{intrinsics}`: expected four numbers of pixels, fx,fy,cx,cy") from error
        return cls(intrinsics=(fx, fy, cx, cy))

    def pixels(self, height: int, width: int) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy for a picture of this size."""
        if self.intrinsics:
            return self.intrinsics
        focal = max(height, width) / 2 / np.tan(np.radians(self.fov_degrees) / 2)
        return float(focal), float(focal), width / 2, height / 2

    def as_json(self) -> dict[str, object]:
        return {"intrinsics": list(self.intrinsics)} if self.intrinsics else {"fov_degrees": self.fov_degrees}


@dataclass(frozen=True)
class Points:
    """xyz: (N, 3) float32, in metres, or in units of the nearest distance; rgb: (N, 3) uint8; normals: (N, 3) float32
    or None; metric: whether it is metres"""

    xyz: np.ndarray
    rgb: np.ndarray
    normals: np.ndarray | None = None
    metric: bool = False


def points(rgb: np.ndarray, fields: Fields, camera: Camera, most: int | None = None) -> Points:
    """The foreground's pixels in space, all where no alpha is known.

    rgb: (H, W, 3) uint8; fields: with depth of any kind; most: points, of more every n-th row and column is taken.
    Raises DavidError where depth is not known."""
    name = depth_of(fields)
    if name is None:
        raise DavidError("points need depth, which this network does not say")
    height, width = fields[name].shape
    step = 1 if most is None else max(1, int(np.ceil((height * width / most) ** 0.5)))
    inside = drawing.foreground(fields)
    inside = np.ones((height, width), bool) if inside is None else inside
    rows, columns = np.nonzero(inside[::step, ::step])
    rows, columns = rows * step, columns * step
    fx, fy, cx, cy = camera.pixels(height, width)
    broad = (columns.max() - columns.min() + 1) / fx if len(columns) else 0.0
    z = fields[name][rows, columns]
    if name != METRIC:
        z = _placed(z, drawing.span(fields) or (0.0, 0.0), broad, name == DISPARITY)
    xyz = np.stack([(columns + 0.5 - cx) / fx * z, (rows + 0.5 - cy) / fy * z, z], axis=1).astype(np.float32)
    normals = None if fields.normals is None else fields.normals[rows, columns] * TO_CAMERA_AXES
    return Points(xyz, rgb[rows, columns], normals, name == METRIC)


def _placed(depth: np.ndarray, span: drawing.Span, broad: float, disparity: bool) -> np.ndarray:
    """Relative depth or disparity, (N,), to Z. span: its least and most; broad: W"""
    least, most = span
    share = (depth - least) / max(most - least, 1e-6)
    if not disparity:
        return np.maximum(1 + RELIEF * broad * share, NEAREST).astype(np.float32)
    last = 1 / (1 + RELIEF * broad)  # 1 / Z of the farthest; few lie farther, and none beyond four times that
    return (1 / np.clip(last + (1 - last) * share, last / 4, 1 / NEAREST)).astype(np.float32)


def ply(cloud: Points) -> bytes:
    """A PLY file, binary and little endian: x, y, z, nx, ny, nz as float32 and red, green, blue as uint8 a vertex.

    After G. Turk, "The PLY Polygon File Format" (1994)."""
    vectors = ["x", "y", "z"] + (["nx", "ny", "nz"] if cloud.normals is not None else [])
    colours = ["red", "green", "blue"]
    vertices = np.empty(len(cloud.xyz), [(name, "<f4") for name in vectors] + [(name, "u1") for name in colours])
    for axis in range(3):
        vertices[vectors[axis]], vertices[colours[axis]] = cloud.xyz[:, axis], cloud.rgb[:, axis]
        if cloud.normals is not None:
            vertices[vectors[3 + axis]] = cloud.normals[:, axis]
    lines = ["ply", "format binary_little_endian 1.0", "comment metric depth: metres" if cloud.metric else CHOSEN]
    lines += [f"element vertex {len(vertices)}", *(f"property float {name}" for name in vectors)]
    lines += [*(f"property uchar {name}" for name in colours), "end_header"]
    return "".join(f"{line}\n" for line in lines).encode() + vertices.tobytes()
