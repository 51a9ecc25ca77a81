"""A figure under construction: ellipsoids, limbs and sleeves, placed, turned and squashed.

A person stands in a frame of its own: X to its left (the viewer's right), Y up from the floor, Z out of its chest, cm.
Its proportions are those of an adult of 170 cm, scaled as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, radians, sin, sqrt

import numpy as np

from david.pack.synth.quadrics import KEEP_ALL, UNIT_BALL, Quadrics, cone

Point = Sequence[float] | np.ndarray
Matrix = np.ndarray
LEFT, RIGHT = 1.0, -1.0  # the sign of X on the person's own left and right
IDENTITY, IDENTITY3 = np.eye(4), np.eye(3)
KEEP = [KEEP_ALL, KEEP_ALL]


@dataclass(frozen=True, eq=False)
class Material:
    """What a surface is painted with; see `paint.PATTERNS` for the patterns.

    base, second: (3,) linear RGB
    scale: how often the pattern repeats, per unit of the local frame
    gloss: strength of the highlight
    grain: strength of the fine noise
    """

    pattern: str
    base: np.ndarray
    second: np.ndarray
    scale: float = 1.0
    gloss: float = 0.1
    grain: float = 0.1


def rotation(pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3): nod (pitch, down is positive), then turn to X (yaw), then lean to -X (roll), in degrees."""
    (cp, sp), (cy, sy), (cr, sr) = ((cos(radians(one)), sin(radians(one))) for one in (pitch, yaw, roll))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def motion(turn: Matrix = IDENTITY3, shift: Point = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine motion (4, 4) P -> turn P + shift."""
    matrix = IDENTITY.copy()
    matrix[:3, :3] = turn
    matrix[:3, 3] = shift
    return matrix


def cross(a: Point, b: Point) -> np.ndarray:
    """(3,), at a right angle to both; np.cross takes ten times as long on one pair."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


@dataclass
class Figure:
    """Quadrics under construction. `place` (4, 4) carries what is added next into the camera's frame."""

    place: np.ndarray
    rows: list[tuple] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)

    def egg(
        self,
        material: Material,
        centre: Point,
        radii: Point,
        turn: Matrix = IDENTITY3,
        cuts: Sequence[Point] = (),
        painted=None,
    ) -> None:
        """An ellipsoid. cuts: up to two planes (n_x, n_y, n_z, d) that keep n P + d >= 0.

        painted: (4, 4) from the current place to the material's frame; that of the unit ball where left out."""
        frame = motion(turn * radii, centre)
        planes = np.array([*cuts, *KEEP[: 2 - len(cuts)]]) @ frame
        local = IDENTITY if painted is None else painted @ frame
        self._add(UNIT_BALL, planes, local, (IDENTITY, IDENTITY), frame, material)

    def limb(
        self,
        material: Material,
        start: Point,
        end: Point,
        r_start: float,
        r_end: float,
        squash: Matrix = IDENTITY,
        painted=None,
    ) -> None:
        """Two balls and the cone that touches both. `squash` is an affine map (4, 4) applied last.

        The material's frame has Y along the limb, in cm, where `painted` is left out."""
        for ball, local in self.tube(material, start, end, r_start, r_end, squash, painted):
            self._add(UNIT_BALL, KEEP, local @ ball, (IDENTITY, IDENTITY), squash @ ball, material)

    def tube(
        self,
        material: Material,
        start: Point,
        end: Point,
        r_start: float,
        r_end: float,
        squash: Matrix = IDENTITY,
        painted=None,
    ) -> list[tuple[Matrix, Matrix]]:
        """The cone of a limb alone, open at both ends: sleeves and skirts.

        Gives the two balls that would close it: from the unit ball to the ball, and from there to the material."""
        start, end = np.array(start, dtype=float), np.array(end, dtype=float)
        form, planes = cone(start, end, r_start, r_end)
        if painted is None:
            along = start - end
            along /= sqrt(along @ along)
            side = cross(along, (0.0, 0.3, 1.0))
            side /= sqrt(side @ side)
            turn = np.array([side, along, cross(side, along)])
            painted = motion(turn, -turn @ end)
        balls = motion(IDENTITY3 * r_start, start), motion(IDENTITY3 * r_end, end)
        self._add(form, planes, painted, balls, squash, material)
        return [(ball, painted) for ball in balls]

    def _add(self, form, planes, local, hull, frame, material: Material) -> None:
        if material not in self.materials:
            self.materials.append(material)
        self.rows.append((form, planes, local, hull, self.place @ frame, self.materials.index(material)))

    def quadrics(self) -> Quadrics:
        """All that was added, material by material."""
        rows = sorted(self.rows, key=lambda row: row[-1])
        form, planes, local, hull, frame, material = (np.array(column) for column in zip(*rows, strict=True))
        back = np.linalg.inv(frame)
        ahead = np.swapaxes(back, 1, 2)
        hull_back = np.linalg.inv(frame[:, None] @ hull)
        return Quadrics(
            form=ahead @ form @ back,
            planes=planes @ back,
            local=local @ back,
            hull=np.swapaxes(hull_back, 2, 3) @ UNIT_BALL @ hull_back,
            material=material,
            materials=tuple(self.materials),
        )
