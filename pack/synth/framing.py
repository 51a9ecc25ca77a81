"""How a scenario is framed: a random person before a random camera."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from david.pack.synth.bodies import add_body
from david.pack.synth.figure import Figure, motion, rotation
from david.pack.synth.looks import look
from david.pack.synth.poses import Pose, pose
from david.pack.synth.quadrics import Quadrics

Span = tuple[float, float]


@dataclass(frozen=True)
class Framing:
    """How a scenario is framed: where the camera looks, from how far, how large; heights as shares of the image.

    legs: whether they can be in view
    """

    target: tuple[float, float, float]
    extent_cm: float
    fills: Span
    distance_cm: Span
    yaw: float
    legs: bool


FRAMINGS = {
    "face": Framing((0, 156.5, 0), 26.0, (0.42, 0.62), (106, 172), 32, legs=False),
    "full_body": Framing((0, 86.0, 0), 178.0, (0.74, 0.92), (300, 560), 55, legs=True),
    "upper_body": Framing((0, 132.0, 0), 88.0, (0.80, 1.15), (170, 300), 42, legs=True),
}


def pose_before_camera(
    rng: np.random.Generator, scenario: str, height: int, width: int, moved: Callable[[Pose], Pose] | None = None
) -> tuple[Quadrics, np.ndarray]:
    """One random person in the camera's frame, and the camera: (quadrics, intrinsics (3, 3) float64 in pixels).

    moved: takes the pose that was drawn to the one that is shown; it draws nothing, so all else stays as it is"""
    framing = FRAMINGS[scenario]
    person, stance = look(rng), pose(rng)
    stance = moved(stance) if moved else stance
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
    add_body(figure, person, stance, rng, framing.legs)
    return figure.quadrics(), intrinsics
