"""How people stand: the angles of arms, legs, trunk and head."""

from dataclasses import dataclass

import numpy as np

from david.pack.synth.figure import LEFT, RIGHT


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
