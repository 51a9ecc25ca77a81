"""Heads: face, eyes, hair, hats."""

import numpy as np

from david.pack.synth.figure import IDENTITY, IDENTITY3, LEFT, RIGHT, Figure, motion, rotation
from david.pack.synth.looks import Look


def add_head(figure: Figure, person: Look, gaze: tuple[float, float], rng: np.random.Generator) -> None:
    """A head about the origin of `figure.place`, 23 cm from chin to crown; gaze: yaw and pitch of the eyes."""
    skin, face = person.skin, person.face
    long, jaw, nose = rng.uniform(0.95, 1.06), rng.uniform(5.8, 6.6), rng.uniform(0.85, 1.2)
    figure.egg(face, (0, 2.6, -1.4), (7.5, 9.0, 9.4), painted=IDENTITY)
    figure.egg(face, (0, -3.6 * long, 1.3), (jaw, 8.3 * long, 7.3), painted=IDENTITY)
    figure.egg(face, (0, -9.9 * long, 4.7), (2.7, 1.9, 2.2), painted=IDENTITY)
    figure.limb(face, (0, 1.4, 7.75), (0, -2.4, 7.9 + 1.9 * nose), 0.8, 1.2 * nose, painted=IDENTITY)
    for side in (LEFT, RIGHT):
        figure.egg(face, (side * 1.2 * nose, -2.8, 8.4), (0.9, 0.8, 1.1), painted=IDENTITY)
        figure.egg(skin, (side * 7.3, -0.6, -1.0), (0.9, 3.0, 1.9), rotation(-12, side * 22, 0))
        add_eye(figure, person, side, gaze)
    figure.egg(person.lips, (0, -5.5 * long, 7.4), (2.3, 0.6, 1.15), rotation(-10))
    figure.egg(person.lips, (0, -6.5 * long, 7.15), (2.0, 0.75, 1.2), rotation(10))
    if person.beard:
        figure.egg(person.stubble, (0, -4.0 * long, 1.2), (jaw + 0.3, 8.6 * long, 7.4), cuts=[(0, -1, 0.12, -4.2)])
        figure.egg(person.stubble, (0, -10.2 * long, 5.0), (3.0, 2.3, 2.5))
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
        figure.egg(person.face, centre, (1.85, 1.72, 1.72), cuts=[cut], painted=IDENTITY)
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
        figure.limb(hair, (0, -1, -5.0), (0, -7, -5.5), 8.0, 7.0, painted=motion(IDENTITY3 / 9))
    elif style == "long":
        figure.limb(hair, (0, -3, -6.0), (0, -20, -8.5), 8.2, 6.0, painted=motion(IDENTITY3 / 9))
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
