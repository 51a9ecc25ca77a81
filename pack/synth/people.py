"""Simple people: heads, torsos and limbs out of ellipsoids and tapered limbs, dressed and posed at random.

A figure stands in its own frame: X to its left (the viewer's right), Y up from the floor, Z out of its chest, cm.
Its proportions are those of an adult of 170 cm, scaled as a whole.
"""

from dataclasses import dataclass, field

import numpy as np

from david.pack.synth.quadrics import Quadric, ball, cone, ellipsoid

LEFT, RIGHT = 1.0, -1.0  # the sign of X on the figure's own left and right
SKIN_TONES = ("f4d0b5", "eec0a0", "dfa885", "c98d66", "a86e48", "85522f", "623a22", "472a1b")
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
    (cp, cy, cr), (sp, sy, sr) = np.cos(np.deg2rad((pitch, yaw, roll))), np.sin(np.deg2rad((pitch, yaw, roll)))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def motion(turn: np.ndarray | None = None, shift: np.ndarray | tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine motion (4, 4) P -> turn P + shift."""
    matrix = np.eye(4)
    if turn is not None:
        matrix[:3, :3] = turn
    matrix[:3, 3] = shift
    return matrix


@dataclass
class Figure:
    """Quadrics under construction. `place` carries what is added next into the figure's frame."""

    quadrics: list[Quadric] = field(default_factory=list)
    place: np.ndarray = field(default_factory=lambda: np.eye(4))
    parts: int = 0

    def egg(self, material: Material, centre, radii, turn: np.ndarray | None = None, cuts=(), painted=None) -> None:
        """An ellipsoid; `cuts` are planes (n_x, n_y, n_z, d) that keep n P + d >= 0.

        `painted` names the frame of the material, the unit ball where left out.
        """
        turn = np.eye(3) if turn is None else turn
        frame = motion(turn @ np.diag(np.asarray(radii, dtype=float)), centre)
        form = ellipsoid(frame)
        local = np.linalg.inv(frame) if painted is None else painted
        self._add(form, np.asarray(cuts, dtype=float).reshape(-1, 4), local, (form,), material)

    def limb(self, material: Material, start, end, r_start: float, r_end: float, squash=None, painted=None) -> None:
        """Two balls and the cone that touches both."""
        self.tube(material, start, end, r_start, r_end, squash, painted, caps=True)

    def tube(
        self, material: Material, start, end, r_start: float, r_end: float, squash=None, painted=None, caps=False
    ) -> None:
        """The cone alone, open at both ends: sleeves and skirts. `squash` is an affine map (4, 4) applied last.

        The material's frame has Y along the limb and Z towards the front, in cm, unless `painted` names another.
        """
        start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        form, planes = cone(start, end, r_start, r_end)
        along = (start - end) / np.linalg.norm(end - start)
        side = np.cross(along, [0.0, 0.3, 1.0])
        side /= np.linalg.norm(side)
        if painted is None:
            painted = np.linalg.inv(motion(np.stack([side, along, np.cross(side, along)], axis=1), end))
        balls = ball(start, r_start), ball(end, r_end)
        squash = np.eye(4) if squash is None else squash
        self._add(form, planes, painted, balls, material, squash)
        if caps:
            for one in balls:
                self.parts -= 1
                self._add(one, np.empty((0, 4)), painted, (one,), material, squash)

    def _add(self, form, planes, local, hull, material, squash=None) -> None:
        carry = self.place if squash is None else self.place @ squash
        self.quadrics.append(Quadric(form, planes, local, hull, self.parts, material).moved(carry))
        self.parts += 1


@dataclass(frozen=True)
class Look:
    """What the parts of one person have in common."""

    skin: Material
    face: Material
    hair: Material
    eye: Material
    top: Material
    bottom: Material
    shoes: Material
    hairstyle: str
    beard: bool
    hat: bool
    sunglasses: bool
    sleeves: float  # how much of the arm: 0 none, 0.5 to the elbow, 1 to the wrist
    bottoms: str
    girth: float
    shoulders: float


def look(rng: np.random.Generator) -> Look:
    tone = colour(rng.choice(SKIN_TONES)) * rng.uniform(0.85, 1.1)
    blush = tone * np.array([1.0, 0.55, 0.5])
    hair = colour(rng.choice(HAIR_COLOURS)) * rng.uniform(0.8, 1.2)
    cloth = [colour(code) * rng.uniform(0.8, 1.1) for code in rng.choice(CLOTHES, 4, replace=False)]
    pattern = str(rng.choice(["plain", "plain", "stripes", "bars", "checks", "dots", "marble"]))
    hairstyle = str(rng.choice(["short", "short", "bob", "long", "bun", "afro", "tufts", "bald"]))
    return Look(
        skin=Material("skin", tone, blush, gloss=0.25, grain=0.06),
        face=Material("face", tone, blush, gloss=0.3, grain=0.06),
        hair=Material("hair", hair, hair * 0.45, gloss=0.35, grain=0.4),
        eye=Material("eye", colour(rng.choice(EYE_COLOURS)), np.full(3, 0.75), gloss=0.9, grain=0.0),
        top=Material(pattern, cloth[0], cloth[1], scale=rng.uniform(0.12, 0.35), gloss=0.05, grain=0.12),
        bottom=Material("plain", cloth[2] * 0.7, cloth[2], gloss=0.04, grain=0.15),
        shoes=Material("plain", cloth[3] * 0.5, cloth[3], gloss=0.3, grain=0.05),
        hairstyle=hairstyle,
        beard=bool(rng.random() < 0.2),
        hat=bool(rng.random() < 0.12),
        sunglasses=bool(rng.random() < 0.08),
        sleeves=float(rng.choice([0.0, 0.35, 0.45, 1.0, 1.0])),
        bottoms=str(rng.choice(["trousers", "trousers", "shorts", "skirt"])),
        girth=rng.uniform(0.86, 1.22),
        shoulders=rng.uniform(0.9, 1.1),
    )


def add_head(figure: Figure, person: Look, gaze: tuple[float, float], rng: np.random.Generator) -> None:
    """A head about the origin of `figure.place`, 23 cm from chin to crown; gaze: yaw and pitch of the eyes."""
    skin, face, hair = person.skin, person.face, person.hair
    painted = np.eye(4)
    long = rng.uniform(0.95, 1.06)
    jaw = rng.uniform(5.7, 6.6)
    figure.egg(face, (0, 2.6, -1.4), (7.5, 9.0, 9.4), painted=painted)
    figure.egg(face, (0, -3.6 * long, 1.3), (jaw, 8.3 * long, 7.3), painted=painted)
    figure.egg(face, (0, -10.0 * long, 5.0), (2.6, 1.9, 2.2), painted=painted)
    nose = rng.uniform(0.9, 1.2)
    figure.limb(skin, (0, 1.5, 8.1), (0, -2.5, 8.1 + 1.9 * nose), 0.75, 1.25 * nose)
    for side in (LEFT, RIGHT):
        figure.egg(face, (side * 3.5, -2.7, 4.6), (2.9, 2.8, 3.2), painted=painted)
        figure.egg(skin, (side * 1.25 * nose, -2.8, 8.5), (0.9, 0.8, 1.1))
        figure.egg(skin, (side * 7.3, -0.6, -1.0), (0.9, 3.0, 1.9), rotation(-12, side * 22, 0))
        add_eye(figure, person, side, gaze)
    lips = Material("plain", face.second * 0.95, face.second * 0.75, gloss=0.5, grain=0.05)
    figure.egg(lips, (0, -5.5 * long, 7.45), (2.3, 0.6, 1.15), rotation(-10))
    figure.egg(lips, (0, -6.5 * long, 7.25), (2.0, 0.75, 1.2), rotation(10))
    if person.beard:
        shorn = Material("hair", hair.base, hair.second, scale=2.5, gloss=0.1, grain=0.5)
        chin = (0, 0.25, -1, 4.5)
        figure.egg(shorn, (0, -4.0 * long, 1.2), (jaw + 0.3, 8.6 * long, 7.5), cuts=[(0, -1, 0.12, -4.2)])
        figure.egg(shorn, (0, -10.2 * long, 5.0), (3.0, 2.3, 2.5), cuts=[chin])
    if person.sunglasses:
        dark = Material("plain", np.full(3, 0.004), np.full(3, 0.01), gloss=0.9, grain=0.0)
        for side in (LEFT, RIGHT):
            figure.egg(dark, (side * 3.2, 0.7, 8.6), (2.8, 2.1, 0.5), rotation(0, side * 14, 0))
            figure.tube(dark, (side * 5.8, 1.2, 7.8), (side * 7.8, 1.0, -1.0), 0.3, 0.25)
        figure.limb(dark, (-0.8, 1.2, 9.0), (0.8, 1.2, 9.0), 0.25, 0.25)
    add_hair(figure, person, rng)


def add_eye(figure: Figure, person: Look, side: float, gaze: tuple[float, float]) -> None:
    """An eyeball that looks along `gaze`, with two lids and a brow."""
    centre = np.array([side * 3.1, 0.7, 6.75])
    look_there = motion(rotation(gaze[1], gaze[0]) * 1.45, centre)
    figure.egg(person.eye, centre, (1.45, 1.45, 1.45), painted=np.linalg.inv(look_there))
    for tilt, down in ((-1, -0.42), (1, -0.62)):  # upper lid: above a plane; lower lid: below one
        plane = (0, -tilt, 0.15, tilt * centre[1] - 0.15 * centre[2] + down)
        figure.egg(person.skin, centre, (1.75, 1.6, 1.62), cuts=[plane])
    brow = person.hair if person.hairstyle != "bald" else Material("hair", colour("2b1d14"), colour("191512"))
    figure.limb(brow, (side * 1.7, 2.75, 7.75), (side * 4.9, 3.1, 6.2), 0.5, 0.35)


def add_hair(figure: Figure, person: Look, rng: np.random.Generator) -> None:
    """Hair, or a hat, about the head. The hairline is where planes cut shells a little larger than the skull."""
    hair, top = person.hair, person.top
    line = (0.0, 0.62, -0.78, -0.6)  # from the forehead's top to the nape
    fringe = (0.0, 0.9, -0.45, -1.2)
    style = person.hairstyle
    if person.hat:
        figure.egg(top, (0, 3.2, -1.5), (8.5, 9.3, 10.3), cuts=[(0, 0.97, -0.24, -5.3)])
        turn = rotation(14)
        figure.egg(top, (0, 5.2, -0.9), (8.8, 1.7, 10.4), turn)
        style = "long" if style == "long" else "short"
    if style != "bald":
        figure.egg(hair, (0, 2.9, -1.9), (8.1, 9.3, 9.9), cuts=[line])
    if style == "bob":
        figure.egg(hair, (0, -0.5, -2.6), (9.4, 12.0, 9.8), cuts=[(0, 0.25, -0.97, 0.9), (0, 1, 0, 9.5)])
        figure.egg(hair, (0, 3.4, -1.0), (8.2, 9.0, 10.0), cuts=[fringe])
    elif style == "long":
        figure.egg(hair, (0, 0.5, -2.8), (9.0, 11.5, 9.6), cuts=[(0, 0.25, -0.97, 0.6)])
        figure.limb(hair, (0, -3, -6.0), (0, -20, -8.5), 8.2, 6.0, painted=motion(np.eye(3) / 9))
        for side in (LEFT, RIGHT):
            reach = rng.uniform(13, 22)
            figure.limb(hair, (side * 7.0, 1, -2.5), (side * rng.uniform(7.5, 9), -reach, 1.5), 2.6, 1.7)
    elif style == "bun":
        figure.egg(hair, (0, 11.5, -6.5), (4.2, 3.9, 4.2))
    elif style == "afro":
        figure.egg(hair, (0, 4.6, -3.2), (13.0, 12.5, 12.5), cuts=[(0, 0.5, -0.86, 0.6)])
    elif style == "tufts":
        for _ in range(14):
            yaw, up = rng.uniform(-150, 150), rng.uniform(15, 80)
            root = rotation(-up, yaw) @ np.array([0, 0, 1.0])
            root = np.array([0, 3.6, -1.6]) + root * [7.0, 8.0, 8.6]
            lean = np.array([rng.uniform(-1.5, 1.5), rng.uniform(1.8, 3.6), rng.uniform(-1.0, 2.0)])
            figure.limb(hair, root, root + lean, 2.0, 0.7)
