"""Where a batch's pixels lie in their sample: crop, scale, small rotation and mirror as one affine map.

The pixel in column i and row j covers [i, i + 1) x [j, j + 1), so its centre is at (i + 0.5, j + 0.5), as in the
shards' intrinsics. A window of the sample is chosen, turned about its own centre and never beyond the sample's border,
then scaled to the batch's size and mirrored last. How a window of another shape is scaled is its `Fit`:

cover    the window has the batch's shape, as large as the sample allows: nothing is bent, the rest is cut off
contain  all of the window is seen, nothing bent; around it is what the sample has there, and beyond it nothing
stretch  the window has the sample's shape and is bent to the batch's

Turning by an angle about the optical axis, shifting, stretching and mirroring are what a camera sees of a world that is
turned and mirrored alike: K' = A K Q^-1, where A maps pixels of the sample to the batch's and Q turns and mirrors the
world; normals take Q too. Depth stays, since Q keeps Z.

Legend: H rows, W columns of the batch, h, w of a sample.
"""

from math import ceil, cos, sin
from typing import Literal, NamedTuple

import numpy as np

from david.pipeline.sampling.draws import Draws

Fit = Literal["cover", "contain", "stretch", "own"]  # own: batches have their samples' size
ONE = 1 << 32  # a pixel, in fixed point


class Placement(NamedTuple):
    """Of one sample in its batch.

    matrix: (2, 3) float64, (column, row, 1) in the batch to (column, row) in the sample
    source, target: (h, w) and (H, W)
    cosine, sine: of the angle by which normals turn from X to Y; flip: whether X is negated then
    samples: bilinear samples a pixel of images, (down, across): more than one where the batch is coarser
    """

    matrix: np.ndarray
    source: tuple[int, int]
    target: tuple[int, int]
    cosine: float
    sine: float
    flip: bool
    samples: tuple[int, int]

    @property
    def mirror(self) -> int:
        """What X is multiplied by."""
        return -1 if self.flip else 1

    @property
    def plain(self) -> bool:
        """Whether pixels stay as they are, but for the mirror."""
        return self.source == self.target and self.whole

    @property
    def whole(self) -> bool:
        """Whether it is the whole sample, merely stretched to the batch's size, and mirrored or not."""
        (h, w), (height, width) = self.source, self.target
        return self.sine == 0 and abs(self.matrix[0, 0]) * width == w and self.matrix[1, 1] * height == h

    @property
    def beyond(self) -> bool:
        """Whether some pixels lie beyond the sample."""
        height, width = self.target
        corners = np.array([[0, 0, width - 1, width - 1], [0, height - 1, 0, height - 1], [1, 1, 1, 1]])
        reached = self.where() @ corners // ONE
        return bool((reached < 0).any() or (reached >= [[self.source[1]], [self.source[0]]]).any())

    def where(self) -> np.ndarray:
        """(2, 3) int64: from a pixel's indices in the batch to the pixel of the sample under its centre, in units of
        2**-32 pixels; each value is rounded down then. So all engines choose the same pixel, or that there is none."""
        (xx, xy, x), (yx, yy, y) = self.matrix.tolist()
        rows = [[xx, xy, x + (xx + xy) / 2], [yx, yy, y + (yx + yy) / 2]]
        return np.array([[round(value * ONE) for value in row] for row in rows], np.int64)


def place(draws: Draws, slot: int, source: tuple[int, int], target: tuple[int, int], fit: Fit = "cover") -> Placement:
    """The drawn placement of a sample of (h, w) pixels in a batch of (H, W)."""
    (h, w), (height, width) = source, target
    angle, kept, flip = float(draws.angle[slot]), float(draws.kept[slot]), bool(draws.flip[slot])
    c, s = cos(angle), sin(angle)
    wider, taller = w * height > h * width, w * height < h * width  # than the batch, by whole numbers
    wide = h * width / height if fit == "cover" and wider else w
    tall = w * height / width if fit == "cover" and taller else h
    fits = min(w / (wide * c + tall * abs(s)), h / (tall * c + wide * abs(s)))  # the largest turned window within
    across, down = wide * kept * fits, tall * kept * fits
    spare_x, spare_y = (w - across * c - down * abs(s)) / 2, (h - down * c - across * abs(s)) / 2
    x, y = w / 2 + spare_x * float(draws.right[slot]), h / 2 + spare_y * float(draws.below[slot])
    if fit == "contain":
        across, down = (down * width / height if taller else across), (across * height / width if wider else down)
    step_x, step_y = across / width * (-1 if flip else 1), down / height
    linear = ((c * step_x, -s * step_y), (s * step_x, c * step_y))
    matrix = np.array(
        [
            [*linear[0], x - linear[0][0] * width / 2 - linear[0][1] * height / 2],
            [*linear[1], y - linear[1][0] * width / 2 - linear[1][1] * height / 2],
        ]
    )
    samples = ceil(h / height), ceil(w / width)
    if fit in ("cover", "contain"):  # alike both ways, so that the coarser way is enough
        each = min(samples) if fit == "cover" else max(samples)
        samples = each, each
    return Placement(matrix, source, target, c, s, flip, samples)


def cameras(placements: list[Placement], intrinsics: np.ndarray) -> np.ndarray:
    """(B, 3, 3) float64 intrinsics of samples to those of the batch's images."""
    backward = np.zeros((len(placements), 3, 3))  # as pixels of the sample: (column, row, 1) from the batch's
    backward[:, :2], backward[:, 2, 2] = [one.matrix for one in placements], 1
    turns = [
        ((one.cosine * one.mirror, -one.sine, 0), (one.sine * one.mirror, one.cosine, 0), (0, 0, 1))
        for one in placements
    ]
    return np.linalg.inv(backward) @ intrinsics @ np.array(turns, np.float64)


def points(placements: list[Placement], pairs: list[np.ndarray]) -> np.ndarray:
    """(B, P, 2, 2) float32: column and row in the batch's images, the image's corner at 0, of the centres of pixels
    that are told of each sample as (P, 4), row, column, row, column; NaN beyond a sample's own."""
    made = np.full((len(pairs), max(map(len, pairs), default=0), 2, 2), np.nan, np.float32)
    for out, one, told in zip(made, placements, pairs, strict=True):
        centres = told.reshape(-1, 2)[:, ::-1] + 0.5
        moved = (centres - one.matrix[:, 2]) @ np.linalg.inv(one.matrix[:, :2]).T
        out[: len(told)] = moved.reshape(-1, 2, 2)
    return made
