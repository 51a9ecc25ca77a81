"""Bodies under the heads: torso, arms and legs in a pose, dressed."""

import numpy as np

from david.pack.synth.figure import LEFT, RIGHT, Figure, Material, cross, motion, rotation
from david.pack.synth.heads import add_head
from david.pack.synth.looks import Look
from david.pack.synth.poses import Arm, Pose


def add_body(figure: Figure, person: Look, stance: Pose, rng: np.random.Generator, legs: bool) -> None:
    """A body of 170 cm on the floor about Y = 0, its head included; without legs where they are out of view."""
    floor = figure.place
    hips = np.array([0.0, 95.0, 0.0])
    upright = rotation(*stance.lean)
    upper = floor @ motion(upright, hips - upright @ hips)

    if legs:
        add_legs(figure, person, stance)
    figure.place = upper
    add_torso(figure, person)
    for side in (LEFT, RIGHT):
        add_arm(figure, person, side, stance.arms[side])
    neck = np.array([0.0, 149.0, -0.6])
    figure.place = upper @ motion(rotation(*stance.head), neck) @ motion(shift=(0, 11.0, 1.4))
    add_head(figure, person, stance.gaze, rng)
    figure.place = floor


def add_torso(figure: Figure, person: Look) -> None:
    top, girth, wide = person.top, person.girth, person.shoulders
    cloth = motion(shift=(0, -100.0, 0))  # one frame for the whole shirt: its pattern goes on across its pieces
    deep = motion(np.diag([1.0, 1.0, 0.66 * girth]))
    figure.limb(top, (-7.0 * wide, 130.5, 0), (7.0 * wide, 130.5, 0), 11.8, 11.8, squash=deep, painted=cloth)
    figure.limb(top, (0, 127, 0), (0, 104, 0), 15.4 * wide, 12.8 * girth, squash=deep, painted=cloth)
    figure.tube(top, (0, 106, 0), (0, 95, 0), 12.9 * girth, 14.9 * girth, squash=deep, painted=cloth)
    for side in (LEFT, RIGHT):
        figure.limb(top, (side * 8.0, 137.5, -1), (side * 16.5 * wide, 138, -1), 5.6, 5.5, painted=cloth)
        figure.limb(top, (side * 1.5, 145.0, -1), (side * 12.5 * wide, 139.8, -1), 4.8, 4.4, painted=cloth)
    if person.collar:
        figure.tube(top, (0, 149.6, 0.2), (0, 144.0, -0.4), 6.1, 7.6, painted=cloth)
    figure.limb(person.skin, (0, 143, -0.8), (0, 154, 0.2), 5.4, 5.1)


def add_arm(figure: Figure, person: Look, side: float, arm: Arm) -> None:
    turn = rotation(roll=side * arm.out) @ rotation(pitch=-arm.front) @ rotation(yaw=side * arm.twist)
    bend = np.deg2rad(arm.bend)
    shoulder = np.array([side * 18.2 * person.shoulders, 138.5, -1.0])
    elbow = shoulder + turn @ [0, -28.5, 0]
    fore = turn @ np.array([0, -np.cos(bend), np.sin(bend)])
    wrist = elbow + 24.5 * fore
    thick = 0.5 + 0.5 * person.girth
    add_sleeved(figure, person.top, person.skin, shoulder, elbow, wrist, (5.3, 4.0, 2.7), thick, person.sleeves)
    across = turn @ np.array([side, 0, 0])
    palm = np.stack([cross(-fore, across), -fore, across], axis=1)  # edge to the front, as arms hang
    figure.egg(person.skin, wrist + 5.5 * fore, (4.1, 5.6, 1.9), palm)
    figure.egg(person.skin, wrist + 11.5 * fore, (3.4, 5.6, 1.5), palm)
    thumb = wrist + 3.5 * fore + 3.2 * palm[:, 0]
    figure.limb(person.skin, thumb, thumb + 3.4 * fore + 1.8 * palm[:, 0], 1.4, 1.1)


def add_legs(figure: Figure, person: Look, stance: Pose) -> None:
    girth = person.girth
    trousers = person.bottoms == "trousers"
    deep = motion(np.diag([1.0, 1.0, 0.68 * girth]))
    figure.limb(person.bottom, (0, 97, 0), (0, 91, 0), 12.6 * girth, 14.4 * girth, squash=deep)
    for side in (LEFT, RIGHT):
        leg = stance.legs[side]
        turn = rotation(roll=side * leg.out) @ rotation(pitch=-leg.front)
        bend = np.deg2rad(leg.bend)
        hip = np.array([side * 8.2 * girth, 89.0, 0.0])
        knee = hip + turn @ [0, -41.0, 0]
        shin = turn @ np.array([0, -np.cos(bend), -np.sin(bend)])
        ankle = knee + 39.0 * shin
        cover = 1.0 if trousers else 0.42
        add_sleeved(figure, person.bottom, person.skin, hip, knee, ankle, (8.6, 5.7, 3.9), girth, cover)
        toes = cross(cross(shin, turn @ [0, 0, 1.0]), shin)  # at a right angle to the shin
        toes /= np.linalg.norm(toes)
        figure.limb(person.shoes, ankle + 3.0 * shin - 2.5 * toes, ankle + 4.6 * shin + 13 * toes, 4.4, 3.3)
    if person.bottoms == "skirt":
        figure.tube(person.bottom, (0, 101, 0), (0, 54, 0), 14.0 * girth, 26.0, squash=deep)


def add_sleeved(figure, cloth: Material, skin: Material, root, joint, end, radii, thick: float, cover: float) -> None:
    """A limb in two tapered halves, covered by a sleeve from its root to the share `cover` of its length."""
    radii = [radius * thick for radius in radii]
    halves = ((root, joint, radii[0], radii[1], 2 * cover), (joint, end, radii[1], radii[2], 2 * cover - 1))
    for start, stop, r_start, r_stop, covered in halves:
        covered = min(max(covered, 0.0), 1.0)
        if covered < 1:
            figure.limb(skin, start, stop, r_start, r_stop)
        if covered > 0:
            hem, r_hem = start + covered * (stop - start), r_start + covered * (r_stop - r_start)
            if covered == 1:
                figure.limb(cloth, start, hem, r_start + 0.7, r_hem + 0.6)
            else:
                figure.limb(cloth, start, start + 0.3 * (hem - start), r_start + 0.7, r_start + 0.7)
                figure.tube(cloth, start, hem, r_start + 0.8, r_hem + 1.1)
