"""Ellipsoids, balls and cones that are traced analytically, many pixels at a time.

Frame: the camera at the origin, X right, Y up, Z towards the camera, cm. The ray through the image point (x, y) is
P(t) = t * (u, v, -1), so t is the depth along the optical axis. Image points are in pixels; the centre of the pixel
in column i and row j is (i + 0.5, j + 0.5).

A quadric is {P : f(P) = (P, 1)^T form (P, 1) = 0}, f < 0 inside. Along a ray, f = a t^2 - 2 h t + c, where a and the
discriminant h^2 - a c are quadratic and h is linear in (x, y). Seen from outside (c > 0), the first crossing is
t = c / (h + sqrt(h^2 - a c)), whatever the sign of a. The coefficients are made in float64 about the middle of the
quadric's box on the image, so that float32 is enough for each pixel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Quadric:
    """form: (4, 4), the surface; planes: (K, 4), it is kept where planes @ (P, 1) >= 0
    local: (4, 4), from the frame of `form` to the frame in which the material is painted
    hull: ellipsoids whose convex hull holds what is kept
    part: equal for quadrics that continue each other smoothly
    """

    form: np.ndarray
    planes: np.ndarray
    local: np.ndarray
    hull: tuple[np.ndarray, ...]
    part: int
    material: Any

    def moved(self, motion: np.ndarray) -> "Quadric":
        """The same surface after an affine motion (4, 4)."""
        back = np.linalg.inv(motion)
        return Quadric(
            back.T @ self.form @ back,
            self.planes @ back,
            self.local @ back,
            tuple(back.T @ form @ back for form in self.hull),
            self.part,
            self.material,
        )


def ellipsoid(frame: np.ndarray) -> np.ndarray:
    """The form of the unit ball carried by the affine `frame` (4, 4)."""
    back = np.linalg.inv(frame)
    return back.T @ np.diag([1.0, 1.0, 1.0, -1.0]) @ back


def ball(centre: np.ndarray, radius: float) -> np.ndarray:
    """The form of a ball, scaled so that f is cm^2."""
    form = np.eye(4)
    form[:3, 3] = form[3, :3] = -centre
    form[3, 3] = centre @ centre - radius**2
    return form


def cone(start: np.ndarray, end: np.ndarray, r_start: float, r_end: float) -> tuple[np.ndarray, np.ndarray]:
    """The cone that touches the balls at both ends: its form, and the two planes (2, 4) through the tangent circles.

    With s the way along the axis and sin p = (r_start - r_end) / length, the radius at s is (r_start - s sin p) / cos p.
    """
    axis = end - start
    length = float(np.linalg.norm(axis))
    axis = axis / length
    sine = (r_start - r_end) / length
    if not -1 < sine < 1:
        raise ValueError(f"a ball of radius {r_start} and one of radius {r_end}, {length} apart, have no common cone")
    along = np.append(axis, -axis @ start)
    radius = (r_start * np.array([0, 0, 0, 1.0]) - sine * along) / np.sqrt(1 - sine**2)
    form = ball(start, 0.0) - np.outer(along, along) - np.outer(radius, radius)
    shift = np.array([0, 0, 0, 1.0])
    return form, np.stack([along - r_start * sine * shift, (length + r_end * sine) * shift - along])


@dataclass(frozen=True)
class Outline:
    """A quadric as one camera sees it: float32 polynomials of image points relative to `origin`.

    rows, columns: the part of the image that can show it; empty where start == stop
    """

    rows: slice
    columns: slice
    origin: tuple[np.float32, np.float32]
    disc: np.ndarray
    half: np.ndarray
    constant: np.float32
    planes: np.ndarray

    def depth_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """float32 depth of the first crossing at image points x, y (float32, broadcast), NaN where there is none."""
        x, y = x - self.origin[0], y - self.origin[1]
        xx, xy, yy, x1, y1, one = self.disc
        root = x * (xy * y)
        root += (xx * x + x1) * x + one
        root += (yy * y + y1) * y
        np.sqrt(root, out=root)
        h_x, h_y, h_1 = self.half
        root += h_x * x + h_1
        root += h_y * y
        depth = np.divide(self.constant, root, out=root)
        for p_x, p_y, p_1, p_0 in self.planes:
            side = (p_x * x + p_1) + p_y * y
            side *= depth
            depth[side < -p_0] = np.nan
        return depth


def outline(quadric: Quadric, rays: np.ndarray, height: int, width: int) -> Outline | None:
    """How a camera with `rays` (3, 3; image point (x, y, 1) to direction) sees a quadric; None if not at all.

    A cone whose extension holds the camera is seen end-on, behind its own balls: None.
    """
    form, constant = quadric.form[:3, :3], float(quadric.form[3, 3])
    if constant <= 0:
        return None
    low, high = _box(quadric.hull, rays)
    first = np.clip(np.floor(low), 0, [width, height]).astype(int)
    last = np.clip(np.ceil(high), 0, [width, height]).astype(int)
    if (first >= last).any():
        return None
    origin = ((first + last) / 2).astype(np.float32)
    shift = np.array([[1, 0, origin[0]], [0, 1, origin[1]], [0, 0, 1]], dtype=np.float64)
    local = rays @ shift
    half = -quadric.form[3, :3]
    disc = local.T @ (np.outer(half, half) - constant * form) @ local
    return Outline(
        rows=slice(int(first[1]), int(last[1])),
        columns=slice(int(first[0]), int(last[0])),
        origin=(origin[0], origin[1]),
        disc=np.array(
            [disc[0, 0], 2 * disc[0, 1], disc[1, 1], 2 * disc[0, 2], 2 * disc[1, 2], disc[2, 2]], dtype=np.float32
        ),
        half=(half @ local).astype(np.float32),
        constant=np.float32(constant),
        planes=np.column_stack([quadric.planes[:, :3] @ local, quadric.planes[:, 3]]).astype(np.float32),
    )


def _box(hull: tuple[np.ndarray, ...], rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image points (x, y) low and high between which the outlines of all ellipsoids of a hull lie.

    The outline of an ellipsoid is a conic; its extent follows from the dual conic.
    """
    lows, highs = [], []
    for form in hull:
        half = form[3, :3]
        dual = np.linalg.inv(rays.T @ (np.outer(half, half) - form[3, 3] * form[:3, :3]) @ rays)
        middle = dual[:2, 2] / dual[2, 2]
        reach = np.sqrt(np.maximum(middle**2 - np.diag(dual)[:2] / dual[2, 2], 0))
        lows.append(middle - reach)
        highs.append(middle + reach)
    return np.min(lows, axis=0), np.max(highs, axis=0)
