"""Pictures of a camera at this machine, with the times at which they came: by OpenCV.

H rows, W columns.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import cv2

from david.model.predict.video import NO_RATE, Frame
from david.pack.errors import DavidError

NAME = re.compile(r"webcam(?::([0-9]{1,3}))?")  # what a camera is called on a command line
TICK = Fraction(1, 1000)  # seconds
WARM_UP = 10  # tries to get a first picture: cameras begin with none, or a dark one


def number(name: str) -> int | None:
    """Which camera a name means, `webcam` the first; None for what is no camera."""
    match = NAME.fullmatch(name)
    return None if match is None else int(match[1] or 0)


@dataclass(frozen=True)
class Webcam:
    """A camera that is open. rate: pictures a second, as it says; tick: seconds that times count, from the first
    picture on; frames, length_s, pixels: nobody knows"""

    number: int
    rate: Fraction
    capture: Any
    tick: Fraction = TICK
    frames: int | None = None
    length_s: float | None = None
    pixels: int | None = None

    def __iter__(self) -> Iterator[Frame]:
        """Pictures as they come, for as long as they do. Raises DavidError where none comes."""
        began, last = 0.0, -1
        tries = (self.capture.read() for _ in range(WARM_UP))
        there, bgr = next((one for one in tries if one[0]), (False, None))
        if bgr is None:
            raise DavidError(f"webcam:{self.number}: gives no picture; does another program hold it?")
        while there:
            now = time.monotonic()
            began = began or now
            last = max(round((now - began) / TICK), last + 1)
            yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), last)
            there, bgr = self.capture.read()


@contextmanager
def opened(number: int) -> Iterator[Webcam]:
    """Raises DavidError where there is no such camera."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # else it tells what it tried, in lines
    try:
        capture = cv2.VideoCapture(number)
    finally:
        cv2.utils.logging.setLogLevel(before)
    try:
        if not capture.isOpened():
            raise DavidError(
                f"webcam:{number}: there is no such camera, or it may not be used; expected webcam or webcam:N, "
                "N counting from 0 as in /dev/videoN"
            )
        said = capture.get(cv2.CAP_PROP_FPS)
        yield Webcam(number, Fraction(said).limit_denominator(1001) if 1 <= said <= 1000 else NO_RATE, capture)
    finally:
        capture.release()
