"""What a source tells of its cameras: intrinsics in pixels, held against what a lens can be."""

import re

import numpy as np

from david.pack.errors import BadSample

_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_FOCAL_SIDES = 0.01, 1000.0  # a focal length in longer sides of the image: fields of view of 178 and 0.06 degrees
_CENTRE_SIDES = 10.0  # how far the principal point may lie from the image's centre: it may be cut out of a larger one
# Images have their corner at 0, 0: this is taken from intrinsics whose first pixel has its centre at 1, and added to
HALF = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # those whose first pixel has it at 0
_SKEW = 1e-6  # of a focal length: what is left of zero by rounding


def intrinsics(where: str, data: bytes, height: int, width: int) -> np.ndarray:
    """(3, 3) float64 in pixels of an image of height x width. A pinhole camera has positive focal lengths, no skew, and
    a last row of 0, 0, 1; what lies a hundred times off a lens or ten images off the centre is no camera's either.

    where: that names the data; data: nine numbers row by row, or fx, fy, cx, cy, apart by blanks or commas.
    Raises BadSample with what was found."""
    words = data.replace(b",", b" ").split()
    try:
        if odd := next((word for word in words if not _NUMBER.fullmatch(word)), None):
            raise ValueError(f"{odd[:40]!r} is no number")
        numbers = [float(word) for word in words]
        if len(numbers) == 4:
            fx, fy, cx, cy = numbers
            numbers = [fx, 0, cx, 0, fy, cy, 0, 0, 1]
        matrix = np.array(numbers, np.float64).reshape(3, 3)
    except ValueError as error:
        raise BadSample(where, f"no 3 x 3 intrinsics: {error}") from error
    (fx, skew, cx), (below, fy, cy), last = matrix.tolist()
    side, (least, most) = max(height, width), _FOCAL_SIDES
    for sense, expected in (
        (np.isfinite(matrix).all(), "finite numbers"),
        (min(fx, fy) > 0, "positive focal lengths"),
        (last == [0, 0, 1], "a last row of 0, 0, 1"),
        (max(abs(skew), abs(below)) <= _SKEW * max(fx, fy), "no skew"),
        (least * side <= min(fx, fy) and max(fx, fy) <= most * side, f"focal lengths from {least} to {most:.0f} sides"),
        (
            abs(cx - width / 2) <= _CENTRE_SIDES * width and abs(cy - height / 2) <= _CENTRE_SIDES * height,
            f"a principal point within {_CENTRE_SIDES:.0f} images of the centre",
        ),
    ):
        if not sense:
            raise BadSample(
                where, f"intrinsics {matrix.tolist()} of {height} rows x {width} columns; expected {expected}"
            )
    return matrix
