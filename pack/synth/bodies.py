"""Bodies under the heads: torso, arms and legs in a pose, and how the camera frames them."""

from dataclasses import dataclass

import numpy as np

from david.pack.synth.people import LEFT, RIGHT, Figure, Look, Material, add_head, cross, look, motion, rotation
from david.pack.synth.quadrics import Quadrics

Span = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """Degrees: away from the body, to the front, elbow; `twist` turns the elbow's plane, 0 bends to the front."""

    out: float
    front: float
    bend: float
    twist: float


@dataclass(frozen=True)
class Leg:
    """Degrees: away from the other leg, to the front, knee."""

    out: float
    front: float
    bend: float


@dataclass(frozen=True)
class Pose:
    """lean, head: (pitch, yaw, roll) in degrees of the upper body about the hips, of the head about the neck."""

    lean: tuple[float, float, float]
    head: tuple[float, float, float]
    gaze: tuple[float, float]
    arms: dict[float, Arm]
    legs: dict[float, Leg]


def pose(rng: np.random.Generator) -> Pose:
    def one(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def hanging() -> Arm:
        return Arm(one(7, 18), one(-10, 14), one(4, 35), one(-35, 10))

    def on_hip() -> Arm:
        return Arm(one(36, 46), one(-16, -8), one(88, 105), one(-75, -55))

    def raised() -> Arm:
        return Arm(one(70, 135), one(-10, 10), one(20, 100), one(70, 100))

    def free() -> Arm:
        return Arm(one(15, 80), one(-15, 35), one(10, 100), one(-40, 90))

    arms = {side: hanging() for side in (LEFT, RIGHT)}
    legs = {side: Leg(one(1, 7), one(-4, 6), one(0, 10)) for side in (LEFT, RIGHT)}
    kind = rng.choice(["stand", "hips", "wave", "cheer", "walk", "dance"])
    first = float(rng.choice([LEFT, RIGHT]))
    if kind == "hips":
        arms[first] = on_hip()
        if rng.random() < 0.6:
            arms[-first] = on_hip()
    elif kind == "wave":
        arms[first] = raised()
    elif kind == "cheer":
        arms = {side: raised() for side in (LEFT, RIGHT)}
    elif kind == "walk":
        stride, swing = one(14, 30), one(12, 32)
        arms = {side: Arm(one(6, 12), side * first * swing, one(15, 50), -10.0) for side in (LEFT, RIGHT)}
        legs = {first: Leg(2.0, -stride, one(5, 35)), -first: Leg(2.0, stride * 0.9, one(0, 12))}
    elif kind == "dance":
        arms = {side: free() for side in (LEFT, RIGHT)}
        legs = {side: Leg(one(4, 26), one(-8, 25), one(0, 45)) for side in (LEFT, RIGHT)}
    return Pose(
        lean=(one(-6, 9), one(-14, 14), one(-7, 7)),
        head=(one(-12, 14), one(-34, 34), one(-10, 10)),
        gaze=(one(-18, 18), one(-8, 10)),
        arms=arms,
        legs=legs,
    )


def add_body(figure: Figure, person: Look, stance: Pose, rng: np.random.Generator) -> None:
    """A body of 170 cm on the floor about Y = 0, its head included."""
    floor = figure.place
    hips = np.array([0.0, 95.0, 0.0])
    upright = rotation(*stance.lean)
    upper = floor @ motion(upright, hips - upright @ hips)

    figure.place = floor
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


@dataclass(frozen=True)
class Framing:
    """How a scenario is framed: where the camera looks, from how far, how large; heights as shares of the image."""

    target: tuple[float, float, float]
    extent_cm: float
    fills: Span
    distance_cm: Span
    yaw: float


FRAMINGS = {
    "face": Framing((0, 156.5, 0), 26.0, (0.42, 0.62), (106, 172), 32),
    "full_body": Framing((0, 86.0, 0), 178.0, (0.74, 0.92), (300, 560), 55),
    "upper_body": Framing((0, 132.0, 0), 88.0, (0.80, 1.15), (170, 300), 42),
}


def pose_before_camera(rng: np.random.Generator, scenario: str, height: int, width: int) -> tuple[Quadrics, np.ndarray]:
    """One random person in the camera's frame, and the camera: (quadrics, intrinsics (3, 3) float64 in pixels)."""
    framing = FRAMINGS[scenario]
    person, stance = look(rng), pose(rng)
    size = rng.uniform(0.92, 1.1)
    distance = rng.uniform(*framing.distance_cm)
    focal = rng.uniform(*framing.fills) * height * distance / (framing.extent_cm * size)
    centre = np.array([width, height]) * (0.5 + rng.uniform(-0.02, 0.02, 2))
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal, centre[1]], [0, 0, 1]])
    turn = rotation(pitch=rng.uniform(-4, 9)) @ rotation(yaw=rng.uniform(-framing.yaw, framing.yaw))
    aside = rng.uniform(-0.06, 0.06, 2) * [width, height] * distance / focal
    aside[1] *= 0.4
    there = np.array([aside[0], aside[1], -distance])
    figure = Figure(place=motion(turn * size, there - turn @ np.array(framing.target) * size))
    add_body(figure, person, stance, rng)
    return figure.quadrics(), intrinsics
