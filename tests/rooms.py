"""Drawn rooms and streets whose depth is known in metres: planes and boxes, a ray through each pixel's centre.

What a thing is as large as shows: tiles of half a metre on floors, boards of a quarter on walls, a camera at the height
of eyes. So a network can learn metres from the picture alone.

Legend: H rows, W columns; camera axes X right, Y up, Z forwards; world axes likewise, Y = 0 the floor.
"""

from dataclasses import dataclass

import numpy as np

NO_SURFACE, FLOOR, CEILING, WALLS, BOXES = -1, 0, 1, 2, 10  # what a ray meets: WALLS + 0 .. 3, BOXES + number


@dataclass(frozen=True)
class View:
    """One picture of a scene and all that is true of it.

    rgb: (H, W, 3) uint8; depth_m: (H, W) float64 along the optical axis, infinite for sky; ray_m: likewise along each
    pixel's ray; surface: (H, W) int, as the constants say; intrinsics: (3, 3) with the image's corner at 0, 0;
    planes: surface -> (4,) unit normal n towards the camera and d with n . p + d = 0, in camera axes, of floor,
    ceiling and walls"""

    rgb: np.ndarray
    depth_m: np.ndarray
    ray_m: np.ndarray
    surface: np.ndarray
    intrinsics: np.ndarray
    planes: dict[int, np.ndarray]


def camera(height: int, width: int, focal: float) -> np.ndarray:
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float64)


def room(seed: int, number: int, height: int = 48, width: int = 64, intrinsics: np.ndarray | None = None) -> View:
    """A closed room of 3 to 7 metres with boxes in it; nothing of it is farther than 9.5 m."""
    rng = np.random.default_rng((seed, number, 1))
    across, along, high = rng.uniform(3, 6), rng.uniform(4, 7), rng.uniform(2.3, 3)
    boxes = []
    for _ in range(int(rng.integers(2, 6))):
        size = rng.uniform((0.3, 0.3, 0.3), (1.2, 1.3, 1.2))
        place = rng.uniform((-across / 2, 0, 1.4 - along / 2), (across / 2 - size[0], 0, along / 2 - size[2]))
        boxes.append((place, place + size))
    eye = np.array([rng.uniform(-0.2, 0.2) * across, rng.uniform(1.2, 1.7), -along / 2 + rng.uniform(0.3, 0.8)])
    turn, nod = rng.uniform(-0.45, 0.45), rng.uniform(-0.35, 0.1)
    walls = ((0, -across / 2), (0, across / 2), (2, -along / 2), (2, along / 2))
    planes = [(FLOOR, 1, 0.0), (CEILING, 1, high), *((WALLS + n, axis, at) for n, (axis, at) in enumerate(walls))]
    if intrinsics is None:
        intrinsics = camera(height, width, 0.8 * width)
    return _view(rng, (height, width), intrinsics, eye, turn, nod, planes, boxes)


def street(seed: int, number: int, height: int = 48, width: int = 160, intrinsics: np.ndarray | None = None) -> View:
    """A road under the sky, houses on both sides and cars on it, seen from a car; houses reach to 150 m."""
    rng = np.random.default_rng((seed, number, 2))
    boxes = []
    for side in (-1, 1):
        z = rng.uniform(2, 8)
        while z < 140:
            near, long, deep, high = rng.uniform(5, 9), rng.uniform(6, 16), rng.uniform(5, 10), rng.uniform(4, 11)
            x = sorted((side * near, side * (near + deep)))
            boxes.append((np.array([x[0], 0, z]), np.array([x[1], high, z + long])))
            z += long + rng.uniform(0.5, 6)
    for _ in range(3):
        place = np.array([rng.uniform(-4, 2.5), 0, rng.uniform(6, 50)])
        boxes.append((place, place + rng.uniform((1.6, 1.3, 3.5), (2, 1.9, 4.8))))
    eye, turn = np.array([rng.uniform(-0.5, 0.5), 1.65, 0.0]), rng.uniform(-0.08, 0.08)
    if intrinsics is None:
        intrinsics = camera(height, width, 0.58 * width)
    return _view(rng, (height, width), intrinsics, eye, turn, 0.0, [(FLOOR, 1, 0.0)], boxes)


def _view(
    rng: np.random.Generator,
    size: tuple[int, int],
    intrinsics: np.ndarray,
    eye: np.ndarray,
    turn: float,
    nod: float,
    planes: list[tuple[int, int, float]],
    boxes: list[tuple[np.ndarray, np.ndarray]],
) -> View:
    """planes: (surface, axis that they stand across, where)"""
    rows, columns = np.indices(size) + 0.5
    across = (columns - intrinsics[0, 2]) / intrinsics[0, 0]
    down = (rows - intrinsics[1, 2]) / intrinsics[1, 1]
    local = np.stack([across, -down, np.ones(size)], axis=-1)
    about_y = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), np.sin(nod)], [0, -np.sin(nod), np.cos(nod)]])
    pose = about_y @ about_x  # camera to world
    ray = local @ pose.T
    ray = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    depth, surface, facing = np.full(size, np.inf), np.full(size, NO_SURFACE), np.full(size, 1)
    in_camera = {}
    for name, axis, place in planes:
        reach = (place - eye[axis]) / ray[..., axis]
        nearer = (reach > 0) & (reach < depth)
        depth[nearer], surface[nearer], facing[nearer] = reach[nearer], name, axis
        sign = np.sign(eye[axis] - place)
        in_camera[name] = np.array([*(pose[axis] * sign), (eye[axis] - place) * sign])
    for number, (low, high) in enumerate(boxes):
        ends = np.stack([(low - eye) / ray, (high - eye) / ray])
        entering = ends.min(0)
        reach, leaving = entering.max(-1), ends.max(0).min(-1)
        nearer = (reach > 0) & (reach < leaving) & (reach < depth)
        depth[nearer], surface[nearer] = reach[nearer], BOXES + number
        facing[nearer] = entering.argmax(-1)[nearer]
    rgb = _painted(rng, ray, eye, depth, surface, facing)
    return View(rgb, depth, depth * np.linalg.norm(local, axis=-1), surface, intrinsics, in_camera)


def _painted(
    rng: np.random.Generator,
    ray: np.ndarray,
    eye: np.ndarray,
    depth: np.ndarray,
    surface: np.ndarray,
    facing: np.ndarray,
) -> np.ndarray:
    """(H, W, 3) uint8: each surface in a colour of its own, tiled in the world's metres and darker with distance."""
    place = eye + np.where(np.isfinite(depth), depth, 0)[..., None] * ray
    on = np.stack([np.delete(place, axis, axis=-1) for axis in range(3)])  # the two coordinates on a face, by its axis
    spot = np.take_along_axis(on, facing[None, ..., None], axis=0)[0]
    tile = np.where(surface >= BOXES, 0.3, np.where(surface == FLOOR, 0.5, 0.25))
    squares = np.floor(spot / tile[..., None] + 1e-6).astype(int)
    dark = np.where((surface == FLOOR) | (surface >= BOXES), squares.sum(-1) % 2, squares[..., 0] % 2)
    colours = rng.uniform(90, 245, (BOXES + 1000, 3))
    light = np.array([0.8, 1.0, 0.9])[facing] * (1 - 0.25 * dark) / (1 + 0.04 * np.where(np.isfinite(depth), depth, 0))
    painted = colours[np.maximum(surface, 0)] * light[..., None] + rng.normal(0, 2, (*depth.shape, 3))
    sky = np.array([150, 190, 235]) + rng.normal(0, 1, (*depth.shape, 3))
    return np.clip(np.where((surface == NO_SURFACE)[..., None], sky, painted), 0, 255).astype(np.uint8)
