"""From a key (seed, index) to a sample: draw a person, trace it, paint it, smooth its edges.

H rows, W columns; n hits of a ray on a surface; E edge pixels; R rays through an edge pixel.
"""

from collections.abc import Callable

import cv2
import numpy as np

from david.pack.shards.sample import Sample
from david.pack.shards.schema import CM, SCENARIOS
from david.pack.synth import paint
from david.pack.synth.framing import pose_before_camera
from david.pack.synth.poses import Pose
from david.pack.synth.quadrics import View

# Eight rays through an edge pixel: no two share a row or a column of the 8 x 8 grid, so an edge of any direction
# passes them one after the other.
RAYS = (np.array([[0, 2], [1, 5], [2, 7], [3, 0], [4, 4], [5, 6], [6, 1], [7, 3]], np.float32) + np.float32(0.5)) / 8


def render(
    seed: int,
    index: int,
    scenario: str | None = None,
    height: int = 512,
    width: int = 384,
    moved: Callable[[Pose], Pose] | None = None,
) -> Sample:
    """A sample that depends on its arguments alone; scenarios take turns with the index where none is named.

    moved: takes the pose that was drawn to another; person, camera, light and background stay the same.

    Pixels where alpha is above 0 but the centre misses the figure are not valid, and carry the mean normal of what
    their other rays hit, as SynthHuman does."""
    scenario = SCENARIOS[index % len(SCENARIOS)] if scenario is None else scenario
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    quadrics, intrinsics = pose_before_camera(rng, scenario, height, width, moved)
    sun = paint.Light.draw(rng)
    backdrop = paint.backdrop(rng, sun, height, width)
    view = View(quadrics, intrinsics, height, width)

    depth, label = view.trace()
    valid = label != len(quadrics.form)
    inside = _by_label(label, valid)
    row, column = _row_column(inside, width)
    centre, numbers = np.float32(0.5), label.ravel()[inside]
    colours, directions = shade(view, column + centre, row + centre, depth.ravel()[inside], numbers, sun)
    colours = paint.to_display(colours)

    edges = np.flatnonzero(edge_pixels(view, depth, label))
    row, column = _row_column(edges, width)
    depths, labels = view.trace_pixels(row, column, RAYS)
    struck = _by_label(labels, labels != len(quadrics.form))
    edge, ray = _row_column(struck, len(RAYS))
    x, y = column[edge] + RAYS[ray, 0], row[edge] + RAYS[ray, 1]
    edge_colours, edge_directions = shade(view, x, y, depths.ravel()[struck], labels.ravel()[struck], sun)

    coverage = np.bincount(edge, minlength=len(edges)) / len(RAYS)
    alpha = valid.ravel().astype(np.float64)
    alpha[edges] = np.maximum(coverage, alpha[edges] / len(RAYS))
    outside = (coverage > 0) & ~valid.ravel()[edges]
    soft = edges[outside]
    towards = np.stack([np.bincount(edge, component, len(edges))[outside] for component in edge_directions])
    towards /= np.sqrt((towards**2).sum(axis=0))
    planes = []
    for channel in range(3):
        mixed = np.bincount(edge, edge_colours[channel], len(edges)) / len(RAYS)
        plane = backdrop[channel].ravel()
        behind = paint.to_linear(plane[edges])
        plane[inside] = colours[channel]
        plane[edges] = paint.to_display(mixed + (1 - coverage) * behind)
        planes.append(cv2.convertScaleAbs(plane.reshape(height, width), alpha=255))
    normals = np.zeros((3, height * width), np.float32)
    for axis in range(3):
        normals[axis][inside] = directions[axis]
        normals[axis][soft] = towards[axis]
    return Sample(
        key=f"{index:07d}",
        rgb=cv2.merge(planes),
        values={
            "alpha": np.round(alpha * 255).astype(np.uint8).reshape(height, width),
            "depth": np.where(valid, depth, np.float32(np.nan)),
            "normals": cv2.merge(list(normals.reshape(3, height, width))),
        },
        masks={"alpha": np.ones_like(valid), "depth": valid, "normals": valid},
        intrinsics=intrinsics,
        meta={"scenario": scenario},
        step_m=CM,
    )


def _by_label(label: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The flat indices of what is chosen, in the order of its labels."""
    indices = np.flatnonzero(chosen)
    return indices[np.argsort(label.ravel()[indices], kind="stable")]


def _row_column(flat: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) int32 each, of flat indices into rows of `width`."""
    flat = flat.astype(np.int32)
    row = flat // width
    return row, flat - row * width


def edge_pixels(view: View, depth: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose 3 x 3 neighbourhood shows two materials, or a jump in depth; label: (H, W).

    A jump is over 12 times what a pixel spans there: no surface that is seen less obliquely than 80 degrees."""
    of_label = np.append(view.quadrics.material, len(view.quadrics.materials)).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    with np.errstate(invalid="ignore"):  # inf - inf, in the background
        span = cv2.morphologyEx(depth, cv2.MORPH_GRADIENT, around)
        jumps = span > np.float32(12 / view.intrinsics[0, 0]) * depth
    return jumps | (cv2.morphologyEx(of_label[label], cv2.MORPH_GRADIENT, around) > 0)


def shade(
    view: View, x: np.ndarray, y: np.ndarray, depth: np.ndarray, label: np.ndarray, sun: paint.Light
) -> tuple[np.ndarray, np.ndarray]:
    """Linear RGB (3, n) and unit normals (3, n) of hits at image points x, y (n,), their depth (n,) and quadric (n,).

    Hits come in the order of quadrics, so that each quadric's and each material's lie side by side."""
    quadrics = view.quadrics
    counts = np.bincount(label, minlength=len(quadrics.form))
    points = np.empty((3, len(x)), np.float32)
    for axis, (u, v, w) in enumerate(view.rays.tolist()):
        points[axis] = (u * x + v * y + w) * depth
    normals = _apply(quadrics.form, counts, points)
    normals /= np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2)
    local = _apply(quadrics.local, counts, points)

    albedo, gloss = np.empty_like(points), np.empty(len(x), np.float32)
    ends = np.cumsum(np.bincount(quadrics.material, counts)).astype(int).tolist()
    for material, start, end in zip(quadrics.materials, [0, *ends], ends, strict=False):
        if end > start:
            albedo[:, start:end] = paint.paint(material, local[:, start:end])
            gloss[start:end] = material.gloss
    return paint.light(albedo, normals, gloss, sun), normals


def _apply(matrices: np.ndarray, counts: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rows 0 to 2 of matrices (N, 4, 4) times (points, 1): (3, n) float32; points come by matrix, `counts` of each."""
    table = matrices.astype(np.float32)
    out = np.empty_like(points)
    for row in range(3):
        out[row] = np.repeat(table[:, row, 3], counts)
        for column in range(3):
            out[row] += np.repeat(table[:, row, column], counts) * points[column]
    return out
