"""Ellipsoids, balls and cones as the camera sees them: analytic ray tracing, many pixels at a time.

Frame: the camera at the origin, X right, Y up, Z towards the camera, cm. The ray through the image point (x, y) is
P(t) = t * (u, v, -1), so t is the depth along the optical axis. Image points are in pixels; the centre of the pixel
in column i and row j is (i + 0.5, j + 0.5).

A quadric is {P : f(P) = (P, 1)^T form (P, 1) = 0}, f < 0 inside. Along a ray, f = a t^2 - 2 h t + c, where a and the
discriminant h^2 - a c are quadratic and h is linear in (x, y). A ray enters at t = c / (h + sqrt(h^2 - a c)), whatever
the sign of a, and also where c < 0 because the camera is inside the mirror image of a cone, as long as the cone's
planes hold what is kept. The coefficients are made in float64 about the middle of the quadric's box on the image, so
that float32 is enough for each pixel.

Legend: N quadrics, H rows, W columns.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

UNIT_BALL = np.diag([1.0, 1.0, 1.0, -1.0])
KEEP_ALL = np.array([0.0, 0.0, 0.0, 1.0])  # a plane that keeps everything


def cone(start: np.ndarray, end: np.ndarray, r_start: float, r_end: float) -> tuple[np.ndarray, np.ndarray]:
    """The cone that touches a ball at `start` and one at `end`: its form (4, 4), and the planes (2, 4) of its ends.

    It is kept where planes @ (P, 1) >= 0, between the circles in which it touches the balls. With s the way along the
    axis and sin p = (r_start - r_end) / length, its radius at s is (r_start - s sin p) / cos p.
    """
    axis = end - start
    length = float(np.sqrt(axis @ axis))
    axis = axis / length
    sine = (r_start - r_end) / length
    if not -1 < sine < 1:
        raise ValueError(f"a ball of radius {r_start} and one of radius {r_end}, {length} apart, have no common cone")
    along = np.append(axis, -axis @ start)
    radius = (r_start * KEEP_ALL - sine * along) / np.sqrt(1 - sine**2)
    distance = np.eye(4)
    distance[:3, 3] = distance[3, :3] = -start
    distance[3, 3] = start @ start
    form = distance - along[:, None] * along - radius[:, None] * radius
    return form, np.stack([along - r_start * sine * KEEP_ALL, (length + r_end * sine) * KEEP_ALL - along])


@dataclass(frozen=True)
class Quadrics:
    """N surfaces in the camera's frame.

    form: (N, 4, 4); planes: (N, 2, 4), a surface is kept where planes @ (P, 1) >= 0
    local: (N, 4, 4), from the camera's frame to the frame in which the material is painted
    hull: (N, 2, 4, 4), two ellipsoids whose convex hull holds what is kept
    material: (N,), an index into `materials`, ascending
    """

    form: np.ndarray
    planes: np.ndarray
    local: np.ndarray
    hull: np.ndarray
    material: np.ndarray
    materials: tuple[Any, ...]


@dataclass(frozen=True)
class View:
    """Quadrics before a camera with 3 x 3 `intrinsics` in pixels and an image of height x width."""

    quadrics: Quadrics
    intrinsics: np.ndarray
    height: int
    width: int

    @cached_property
    def rays(self) -> np.ndarray:
        """(3, 3) float64, from the image point (x, y, 1) to its ray's direction (u, v, -1)."""
        return np.diag([1.0, -1.0, -1.0]) @ np.linalg.inv(self.intrinsics)

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 2, 2) int: first and last + 1 (column, row) of the pixels that can show each quadric.

        The outline of an ellipsoid is a conic, and its extent follows from the dual conic."""
        half, constant = self.quadrics.hull[..., 3, :3], self.quadrics.hull[..., 3, 3]
        conic = half[..., :, None] * half[..., None, :]
        conic = self.rays.T @ (conic - constant[..., None, None] * self.quadrics.hull[..., :3, :3]) @ self.rays
        dual = np.linalg.inv(conic)
        middle = dual[..., :2, 2] / dual[..., 2:, 2]
        square = middle**2 - np.diagonal(dual, axis1=-2, axis2=-1)[..., :2] / dual[..., 2:, 2]
        reach = np.sqrt(np.maximum(square, 0))
        low, high = (middle - reach).min(axis=1), (middle + reach).max(axis=1)
        return np.stack([np.floor(low), np.ceil(high)], axis=1).clip(0, [self.width, self.height]).astype(int)

    @cached_property
    def _polynomials(self) -> list[tuple]:
        """For each quadric: origin (x, y), discriminant (6), half (3), constant, planes (up to 2 x 4), as floats."""
        forms, planes = self.quadrics.form, self.quadrics.planes
        origins = self.boxes.mean(axis=1)
        shift = np.tile(np.eye(3), (len(forms), 1, 1))
        shift[:, :2, 2] = origins
        rays = self.rays @ shift
        half, constant = -forms[:, 3, :3], forms[:, 3, 3]
        disc = half[:, :, None] * half[:, None, :] - constant[:, None, None] * forms[:, :3, :3]
        disc = np.swapaxes(rays, 1, 2) @ disc @ rays
        six = disc[:, (0, 0, 1, 0, 1, 2), (0, 1, 1, 2, 2, 2)] * [1, 2, 1, 2, 2, 1]
        half = (half[:, None, :] @ rays)[:, 0]
        sides = np.concatenate([planes[..., :3] @ rays, planes[..., 3:]], axis=-1)
        cuts = [[side for side in pair if side[:3] != [0.0, 0.0, 0.0]] for pair in sides.tolist()]
        return list(zip(origins.tolist(), six.tolist(), half.tolist(), constant.tolist(), cuts, strict=True))

    def depth_at(self, number: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """float32 depth of quadric `number` at image points x, y (float32, broadcast), NaN where it is not."""
        (origin_x, origin_y), (xx, xy, yy, x1, y1, one), (h_x, h_y, h_1), constant, cuts = self._polynomials[number]
        x, y = x - origin_x, y - origin_y
        root = x * (xy * y)
        root += (xx * x + x1) * x + one
        root += (yy * y + y1) * y
        np.sqrt(root, out=root)
        root += h_x * x + h_1
        root += h_y * y
        depth = np.divide(constant, root, out=root)
        for p_x, p_y, p_1, p_0 in cuts:
            side = (p_x * x + p_1) + p_y * y
            side *= depth
            depth[side < -p_0] = np.nan
        return depth

    def trace(self) -> tuple[np.ndarray, np.ndarray]:
        """Through each pixel's centre: depth (H, W) float32, inf where nothing is, and the quadric (H, W) uint8, N
        where nothing is."""
        depth = np.full((self.height, self.width), np.inf, np.float32)
        label = np.full((self.height, self.width), len(self.boxes), np.uint8)
        x = np.arange(self.width, dtype=np.float32)[None, :] + np.float32(0.5)
        y = np.arange(self.height, dtype=np.float32)[:, None] + np.float32(0.5)
        with np.errstate(invalid="ignore"):
            for number, ((left, top), (right, bottom)) in enumerate(self.boxes.tolist()):
                if left == right or top == bottom:
                    continue
                box = slice(top, bottom), slice(left, right)
                found = self.depth_at(number, x[:, box[1]], y[box[0]])
                nearer = found < depth[box]
                np.copyto(depth[box], found, where=nearer)
                np.copyto(label[box], number, where=nearer)
        return depth, label

    def trace_pixels(self, row: np.ndarray, column: np.ndarray, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for several rays through each of some pixels, given in the order of rows.

        row, column: (E,) integers; within: (R, 2) float32, where in a pixel its rays run; gives (E, R) and (E, R)."""
        depth = np.full((len(row), len(within)), np.inf, np.float32)
        label = np.full(depth.shape, len(self.boxes), np.uint8)
        x = column.astype(np.float32)[:, None] + within[:, 0]
        y = row.astype(np.float32)[:, None] + within[:, 1]
        starts, stops = np.searchsorted(row, self.boxes[:, :, 1]).T.tolist()
        with np.errstate(invalid="ignore"):
            for number, ((left, _), (right, _)) in enumerate(self.boxes.tolist()):
                rows = slice(starts[number], stops[number])
                near = np.flatnonzero((column[rows] >= left) & (column[rows] < right))
                if not len(near):
                    continue
                near += rows.start
                found = self.depth_at(number, x[near], y[near])
                first = depth[near]
                nearer = found < first
                if nearer.any():
                    depth[near] = np.where(nearer, found, first)
                    label[near] = np.where(nearer, np.uint8(number), label[near])
        return depth, label
