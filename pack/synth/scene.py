"""From a key (seed, index) to a sample: draw a person, trace it, paint it, smooth its edges.

H rows, W columns; n hits; E edge pixels; R rays through an edge pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from david.pack.schema import SCENARIOS, Sample
from david.pack.synth import paint
from david.pack.synth.bodies import pose_before_camera
from david.pack.synth.quadrics import Outline, Quadric, outline

# Eight rays through an edge pixel: no two share a row or a column of the 8 x 8 grid, so an edge of any direction
# passes them one after the other.
RAYS = (np.array([[0, 2], [1, 5], [2, 7], [3, 0], [4, 4], [5, 6], [6, 1], [7, 3]], np.float32) + 0.5) / 8
NOTHING = 255


def render(seed: int, index: int, scenario: str | None = None, height: int = 512, width: int = 384) -> Sample:
    """A sample that depends on its arguments alone; scenarios take turns with the index where none is named."""
    scenario = SCENARIOS[index % len(SCENARIOS)] if scenario is None else scenario
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    quadrics, intrinsics = pose_before_camera(rng, scenario, height, width)
    sun = paint.Light(rng)
    behind = paint.backdrop(rng, sun, height, width)
    return draw(quadrics, intrinsics, sun, behind, key=f"{index:07d}", scenario=scenario)


def draw(quadrics: list[Quadric], intrinsics: np.ndarray, sun: paint.Light, behind: np.ndarray, key: str,
         scenario: str) -> Sample:  # fmt: skip
    height, width = behind.shape[:2]
    view = View.of(quadrics, intrinsics, height, width)
    depth, label = view.trace()
    edges = view.edges(label)
    rows, columns = np.nonzero(edges)
    x, y = (columns[:, None] + RAYS[:, 0]).astype(np.float32), (rows[:, None] + RAYS[:, 1]).astype(np.float32)
    edge_depth, edge_label = view.trace_rays(x, y)

    valid = label != NOTHING
    v, u = np.nonzero(valid)
    hit = edge_label != NOTHING
    at_x = np.concatenate([u + np.float32(0.5), x[hit]])
    at_y = np.concatenate([v + np.float32(0.5), y[hit]])
    which = np.concatenate([label[valid], edge_label[hit]])
    colours, directions = view.shade(at_x, at_y, np.concatenate([depth[valid], edge_depth[hit]]), which, sun)
    n = len(u)

    normals = np.zeros((height, width, 3), np.float32)
    normals[valid] = directions[:, :n].T
    picture = behind.copy()
    picture[valid] = colours[:, :n].T

    coverage = hit.mean(axis=1, dtype=np.float32)
    mixed = np.zeros((*hit.shape, 3), np.float32)
    mixed[hit] = colours[:, n:].T
    picture[rows, columns] = mixed.mean(axis=1) + (1 - coverage)[:, None] * behind[rows, columns]

    alpha = np.where(valid, np.float32(1), np.float32(0))
    alpha[rows, columns] = np.maximum(coverage, alpha[rows, columns] / len(RAYS))
    outside = ~valid[rows, columns] & (coverage > 0)
    mixed[hit] = directions[:, n:].T
    soft = mixed[outside].sum(axis=1)
    normals[rows[outside], columns[outside]] = soft / np.linalg.norm(soft, axis=1, keepdims=True)

    return Sample(
        key=key,
        rgb=paint.to_srgb(picture),
        alpha=np.round(alpha * 255).astype(np.uint8),
        depth_cm=np.where(valid, depth, np.float32(np.nan)),
        normals=normals,
        valid=valid,
        intrinsics=intrinsics,
        meta={"scenario": scenario},
    )


@dataclass(frozen=True)
class View:
    """Quadrics before one camera, with tables that hold one row for each of them."""

    quadrics: list[Quadric]
    outlines: list[Outline]
    rays: np.ndarray
    height: int
    width: int

    @classmethod
    def of(cls, quadrics: list[Quadric], intrinsics: np.ndarray, height: int, width: int) -> "View":
        rays = np.diag([1.0, -1.0, -1.0]) @ np.linalg.inv(intrinsics)
        seen = [(quadric, sight) for quadric in quadrics if (sight := outline(quadric, rays, height, width))]
        if len(seen) >= NOTHING:
            raise ValueError(f"{len(seen)} quadrics in view; labels hold {NOTHING - 1}")
        return cls([quadric for quadric, _ in seen], [sight for _, sight in seen], rays, height, width)

    def trace(self) -> tuple[np.ndarray, np.ndarray]:
        """Through each pixel's centre: depth (H, W) float32, inf where nothing is; the quadric hit (H, W) uint8."""
        depth = np.full((self.height, self.width), np.inf, np.float32)
        label = np.full((self.height, self.width), NOTHING, np.uint8)
        x = np.arange(self.width, dtype=np.float32)[None, :] + np.float32(0.5)
        y = np.arange(self.height, dtype=np.float32)[:, None] + np.float32(0.5)
        with np.errstate(invalid="ignore"):
            for number, sight in enumerate(self.outlines):
                box = sight.rows, sight.columns
                found = sight.depth_at(x[:, sight.columns], y[sight.rows])
                nearer = found < depth[box]
                np.copyto(depth[box], found, where=nearer)
                np.copyto(label[box], number, where=nearer)
        return depth, label

    def trace_rays(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same through image points x, y (E, R): depth (E, R) and quadric (E, R); R points of one pixel a row."""
        depth = np.full(x.shape, np.inf, np.float32)
        label = np.full(x.shape, NOTHING, np.uint8)
        column, row = x[:, 0].astype(np.int32), y[:, 0].astype(np.int32)
        with np.errstate(invalid="ignore"):
            for number, sight in enumerate(self.outlines):
                inside = (column >= sight.columns.start) & (column < sight.columns.stop)
                inside &= (row >= sight.rows.start) & (row < sight.rows.stop)
                near = np.flatnonzero(inside)
                if not len(near):
                    continue
                found = sight.depth_at(x[near], y[near])
                before = depth[near]
                nearer = found < before
                depth[near] = np.where(nearer, found, before)
                label[near] = np.where(nearer, np.uint8(number), label[near])
        return depth, label

    def edges(self, label: np.ndarray) -> np.ndarray:
        """(H, W) bool: pixels whose 3 x 3 neighbourhood shows more than one part."""
        parts = np.full(256, NOTHING, np.uint8)
        parts[: len(self.quadrics)] = [quadric.part % NOTHING for quadric in self.quadrics]
        part = parts[label]
        return cv2.morphologyEx(part, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0

    def shade(self, x, y, depth, which, sun: paint.Light) -> tuple[np.ndarray, np.ndarray]:
        """Linear RGB (3, n) and unit normals (3, n) of hits at image points x, y (n,), depths (n,), quadrics (n,)."""
        rays = self.rays.astype(np.float32)
        points = np.empty((3, len(x)), np.float32)
        for axis in range(3):
            points[axis] = (rays[axis, 0] * x + rays[axis, 1] * y + rays[axis, 2]) * depth
        which = which.astype(np.intp)
        normals = _apply(np.stack([quadric.form for quadric in self.quadrics]), which, points)
        normals /= np.sqrt(normals[0] ** 2 + normals[1] ** 2 + normals[2] ** 2)
        local = _apply(np.stack([quadric.local for quadric in self.quadrics]), which, points)

        materials = list({id(quadric.material): quadric.material for quadric in self.quadrics}.values())
        of_quadric = np.array([materials.index(quadric.material) for quadric in self.quadrics], np.uint8)
        of_point = of_quadric[which]
        albedo = np.empty_like(points)
        for number, material in enumerate(materials):
            chosen = np.flatnonzero(of_point == number)
            albedo[:, chosen] = paint.paint(material, local[:, chosen])
        gloss = np.array([material.gloss for material in materials], np.float32)[of_point]
        return paint.light(albedo, normals, gloss, sun), normals


def _apply(matrices: np.ndarray, which: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rows 0 to 2 of matrices[which] (n, 4, 4) times (points, 1): (3, n) float32."""
    table = matrices.astype(np.float32)
    out = np.empty_like(points)
    for row in range(3):
        np.take(table[:, row, 3], which, out=out[row])
        for column in range(3):
            out[row] += np.take(table[:, row, column], which) * points[column]
    return out
