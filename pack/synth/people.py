"""Simple people: heads, torsos and limbs out of ellipsoids and tapered limbs, dressed and posed at random.

A figure stands in its own frame: X to its left (the viewer's right), Y up from the floor, Z out of its chest, cm.
Its proportions are those of an adult of 170 cm, scaled as a whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, radians, sin, sqrt

import numpy as np

from david.pack.synth.quadrics import NOWHERE_CUT, UNIT_BALL, Quadrics, cone

Point = Sequence[float] | np.ndarray

LEFT, RIGHT = 1.0, -1.0  # the sign of X on the figure's own left and right
SKIN_TONES = ("f4d0b5", "eec0a0", "dfa885", "c98d66", "a86e48", "85522f", "6b4229", "573521")
HAIR_COLOURS = ("191512", "2b1d14", "4a2e1b", "6e4524", "96683a", "c49a55", "d9c08a", "9b3f1c", "8d8b88", "d5d3cf")
EYE_COLOURS = ("6b4a2b", "3c2616", "4f6f8f", "5c7352")
CLOTHES = ("e8e4da", "22252b", "7c8794", "31466e", "2f6f8f", "7fb3c8", "3f6b4a", "93a86b", "d9b44a", "d07a3c",
           "b5413c", "7a2e3f", "d58fa0", "8a6aa5", "b79b7c", "5b4634")  # fmt: skip


def colour(code: str) -> np.ndarray:
    """(3,) linear RGB of a hexadecimal sRGB colour; the gamma of this renderer is 2."""
    return (np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)]) / 255.0) ** 2


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


def motion(turn: np.ndarray | None = None, shift: Point = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine motion (4, 4) P -> turn P + shift."""
    matrix = np.eye(4)
    if turn is not None:
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

    def egg(self, material: Material, centre: Point, radii: Point, turn: np.ndarray | None = None, cuts: Sequence = (),
            painted: np.ndarray | None = None) -> None:  # fmt: skip
        """An ellipsoid. cuts: up to two planes (n_x, n_y, n_z, d) that keep n P + d >= 0.

        painted: (4, 4) from the current place to the material's frame; that of the unit ball where left out."""
        frame = motion((np.eye(3) if turn is None else turn) * radii, centre)
        planes = np.array([*cuts, *[NOWHERE_CUT] * (2 - len(cuts))]) @ frame
        local = np.eye(4) if painted is None else painted @ frame
        self._add(UNIT_BALL, planes, local, (np.eye(4), np.eye(4)), frame, material)

    def limb(self, material: Material, start: Point, end: Point, r_start: float, r_end: float,
             squash: np.ndarray | None = None, painted: np.ndarray | None = None) -> None:  # fmt: skip
        """Two balls and the cone that touches both."""
        self.tube(material, start, end, r_start, r_end, squash, painted, closed=True)

    def tube(self, material: Material, start: Point, end: Point, r_start: float, r_end: float,
             squash: np.ndarray | None = None, painted: np.ndarray | None = None, closed: bool = False) -> None:  # fmt: skip
        """The cone alone, open at both ends: sleeves and skirts. `squash` is an affine map (4, 4) applied last.

        The material's frame has Y along the limb, in cm, where `painted` is left out."""
        start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        form, planes = cone(start, end, r_start, r_end)
        if painted is None:
            along = (start - end) / sqrt((end - start) @ (end - start))
            side = cross(along, (0.0, 0.3, 1.0))
            side /= sqrt(side @ side)
            turn = np.array([side, along, cross(side, along)])
            painted = motion(turn, -turn @ end)
        squash = np.eye(4) if squash is None else squash
        balls = [motion(np.eye(3) * radius, centre) for centre, radius in ((start, r_start), (end, r_end))]
        self._add(form, planes, painted, balls, squash, material)
        if closed:
            for ball in balls:
                self._add(UNIT_BALL, [NOWHERE_CUT] * 2, painted @ ball, (np.eye(4), np.eye(4)), squash @ ball, material)

    def _add(self, form, planes, local, hull, frame, material: Material) -> None:
        if material not in self.materials:
            self.materials.append(material)
        number = self.materials.index(material)
        self.rows.append((form, planes, local, hull, self.place @ frame, number))

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


@dataclass(frozen=True)
class Look:
    """What the parts of one person have in common.

    sleeves: the share of the arm that they cover; girth, shoulders: about 1; brows: how far they rise, cm
    awake: how far the upper lids rise, cm
    """

    skin: Material
    face: Material
    lips: Material
    eye: Material
    hair: Material
    brow: Material
    stubble: Material
    glasses: Material
    top: Material
    bottom: Material
    shoes: Material
    hairstyle: str
    beard: bool
    hat: bool
    sunglasses: bool
    collar: bool
    sleeves: float
    bottoms: str
    girth: float
    shoulders: float
    brows: float
    awake: float


def look(rng: np.random.Generator) -> Look:
    """Someone at random."""
    tone = colour(rng.choice(SKIN_TONES)) * rng.uniform(0.85, 1.1)
    blush = tone * np.array([1.0, 0.55, 0.5])
    hair = colour(rng.choice(HAIR_COLOURS)) * rng.uniform(0.8, 1.2)
    cloth = [colour(code) * rng.uniform(0.8, 1.1) for code in rng.choice(CLOTHES, 4, replace=False)]
    pattern = str(rng.choice(["plain", "plain", "stripes", "bars", "checks", "dots", "marble"]))
    styles = ["short", "short", "quiff", "bob", "long", "bun", "afro", "tufts", "bald"]
    return Look(
        skin=Material("skin", tone, blush, gloss=0.2, grain=0.06),
        face=Material("face", tone, blush, gloss=0.22, grain=0.06),
        lips=Material("plain", blush * 0.95, blush, gloss=0.4, grain=0.05),
        eye=Material("eye", colour(rng.choice(EYE_COLOURS)), np.full(3, 0.72), gloss=0.9, grain=0.0),
        hair=Material("hair", hair, hair * 0.4, gloss=0.3, grain=0.4),
        brow=Material("hair", hair * 0.7, hair * 0.4, gloss=0.05, grain=0.4),
        stubble=Material("hair", hair, hair * 0.4, scale=2.5, gloss=0.1, grain=0.5),
        glasses=Material("plain", np.full(3, 0.004), np.full(3, 0.01), gloss=0.9, grain=0.0),
        top=Material(pattern, cloth[0], cloth[1], scale=rng.uniform(0.12, 0.35), gloss=0.05, grain=0.12),
        bottom=Material("plain", cloth[2] * 0.7, cloth[2], gloss=0.04, grain=0.15),
        shoes=Material("plain", cloth[3] * 0.5, cloth[3], gloss=0.3, grain=0.05),
        hairstyle=str(rng.choice(styles)),
        beard=bool(rng.random() < 0.2),
        hat=bool(rng.random() < 0.1),
        sunglasses=bool(rng.random() < 0.07),
        collar=bool(rng.random() < 0.35),
        sleeves=float(rng.choice([0.0, 0.35, 0.45, 1.0, 1.0])),
        bottoms=str(rng.choice(["trousers", "trousers", "shorts", "skirt"])),
        girth=rng.uniform(0.86, 1.2),
        shoulders=rng.uniform(0.9, 1.1),
        brows=rng.uniform(-0.2, 0.5),
        awake=rng.uniform(-0.1, 0.35),
    )


def add_head(figure: Figure, person: Look, gaze: tuple[float, float], rng: np.random.Generator) -> None:
    """A head about the origin of `figure.place`, 23 cm from chin to crown; gaze: yaw and pitch of the eyes."""
    skin, face = person.skin, person.face
    here = np.eye(4)  # the whole face is painted in one frame
    long, jaw, nose = rng.uniform(0.95, 1.06), rng.uniform(5.8, 6.6), rng.uniform(0.85, 1.2)
    figure.egg(face, (0, 2.6, -1.4), (7.5, 9.0, 9.4), painted=here)
    figure.egg(face, (0, -3.6 * long, 1.3), (jaw, 8.3 * long, 7.3), painted=here)
    figure.egg(face, (0, -9.9 * long, 4.7), (2.7, 1.9, 2.2), painted=here)
    figure.limb(face, (0, 1.4, 7.75), (0, -2.4, 7.9 + 1.9 * nose), 0.8, 1.2 * nose, painted=here)
    for side in (LEFT, RIGHT):
        figure.egg(face, (side * 3.3, -2.6, 4.4), (3.1, 3.0, 3.15), painted=here)
        figure.egg(face, (side * 1.2 * nose, -2.8, 8.4), (0.9, 0.8, 1.1), painted=here)
        figure.egg(skin, (side * 7.3, -0.6, -1.0), (0.9, 3.0, 1.9), rotation(-12, side * 22, 0))
        add_eye(figure, person, side, gaze)
    figure.egg(person.lips, (0, -5.5 * long, 7.4), (2.3, 0.6, 1.15), rotation(-10))
    figure.egg(person.lips, (0, -6.5 * long, 7.15), (2.0, 0.75, 1.2), rotation(10))
    if person.beard:
        figure.egg(person.stubble, (0, -4.0 * long, 1.2), (jaw + 0.3, 8.6 * long, 7.5), cuts=[(0, -1, 0.12, -4.2)])
        figure.egg(person.stubble, (0, -10.2 * long, 5.0), (3.0, 2.3, 2.5), cuts=[(0, 0.25, -1, 4.5)])
    if person.sunglasses:
        for side in (LEFT, RIGHT):
            figure.egg(person.glasses, (side * 3.2, 0.6, 8.4), (2.8, 2.2, 0.5), rotation(0, side * 14, 0))
            figure.tube(person.glasses, (side * 5.8, 1.2, 7.6), (side * 7.8, 1.0, -1.0), 0.3, 0.25)
        figure.limb(person.glasses, (-0.8, 1.2, 8.8), (0.8, 1.2, 8.8), 0.25, 0.25)
    add_hair(figure, person, rng)


def add_eye(figure: Figure, person: Look, side: float, gaze: tuple[float, float]) -> None:
    """An eyeball that looks along `gaze`, between two lids and under a brow."""
    centre = np.array([side * 3.15, 0.6, 6.5])
    seen = motion(rotation(gaze[1], gaze[0]) * 1.55, centre)
    figure.egg(person.eye, centre, (1.55, 1.55, 1.55), painted=np.linalg.inv(seen))
    for tilt, down in ((-1, -0.7 - person.awake), (1, -1.0)):  # the upper lid above a plane, the lower below one
        cut = (0, -tilt, 0.2, tilt * centre[1] - 0.2 * centre[2] + down)
        figure.egg(person.face, centre, (1.85, 1.72, 1.72), cuts=[cut], painted=np.eye(4))
    rise = person.brows
    figure.limb(person.brow, (side * 1.7, 2.7 + rise, 7.75), (side * 3.6, 3.2 + rise, 7.3), 0.38, 0.42)
    figure.limb(person.brow, (side * 3.6, 3.2 + rise, 7.3), (side * 5.2, 2.7 + rise, 6.05), 0.42, 0.25)


def add_hair(figure: Figure, person: Look, rng: np.random.Generator) -> None:
    """Hair, or a hat, about the head. The hairline is where planes cut shells a little larger than the skull."""
    hair, style = person.hair, person.hairstyle
    if person.hat:
        figure.egg(person.top, (0, 3.2, -1.5), (8.5, 9.3, 10.3), cuts=[(0, 0.97, -0.24, -5.3)])
        figure.egg(person.top, (0, 5.2, -0.9), (8.8, 1.7, 10.4), rotation(14))
        style = style if style in ("long", "bald") else "short"
    if style in ("short", "bun", "tufts", "quiff", "long", "bob"):
        figure.egg(hair, (0, 2.9, -1.9), (8.1, 9.3, 9.9), cuts=[(0, 0.62, -0.78, -0.6)])  # brow to nape
    if style in ("bob", "long"):
        parting = rng.uniform(-2.5, 2.5)
        figure.egg(hair, (0, 0.6, -2.6), (8.9, 10.8, 9.6), cuts=[(0, 0.25, -0.97, 0.6)])
        for side in (LEFT, RIGHT):  # two curtains that part above the brow
            lean = rotation(-8, side * 38, side * 24)
            figure.egg(hair, (side * 4.6 + 0.6 * parting, 6.6, 2.4), (4.2, 6.0, 5.0), lean)
    if style == "bob":
        for side in (LEFT, RIGHT):
            figure.limb(hair, (side * 7.2, 2, -1.5), (side * 7.6, -8, -0.5), 2.5, 2.3)
        figure.limb(hair, (0, -1, -5.0), (0, -7, -5.5), 8.0, 7.0, painted=motion(np.eye(3) / 9))
    elif style == "long":
        figure.limb(hair, (0, -3, -6.0), (0, -20, -8.5), 8.2, 6.0, painted=motion(np.eye(3) / 9))
        for side in (LEFT, RIGHT):
            reach, wide = rng.uniform(13, 22), rng.uniform(7.6, 9)
            figure.limb(hair, (side * 7.1, 1, -2.0), (side * wide, -reach, 1.5), 2.7, 1.6)
    elif style == "bun":
        figure.egg(hair, (0, 11.5, -6.5), (4.2, 3.9, 4.2))
    elif style == "quiff":
        figure.egg(hair, (0, 8.9, 3.6), (5.8, 3.3, 4.8), rotation(-14))
        figure.egg(hair, (rng.uniform(-2, 2), 11.0, 1.6), (5.4, 2.6, 5.6), rotation(-20))
    elif style == "afro":
        figure.egg(hair, (0, 5.4, -3.6), (11.4, 11.0, 11.2))
        for side in (LEFT, RIGHT):
            figure.egg(hair, (side * 6.6, 2.4, -3.6), (5.6, 6.6, 6.0))
            figure.egg(hair, (side * 4.0, 11.0, -1.4), (6.2, 5.4, 6.4))
    elif style == "tufts":
        for _ in range(14):
            root = rotation(-rng.uniform(15, 80), rng.uniform(-150, 150)) @ np.array([0, 0, 1.0])
            root = np.array([0, 3.6, -1.6]) + root * [7.0, 8.0, 8.6]
            lean = np.array([rng.uniform(-1.5, 1.5), rng.uniform(1.8, 3.6), rng.uniform(-1.0, 2.0)])
            figure.limb(hair, root, root + lean, 2.0, 0.7)
