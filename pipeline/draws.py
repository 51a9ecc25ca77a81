"""All chance in augmentation, drawn from a counter keyed by (seed, epoch, sample).

So a sample's augmentation does not depend on its batch, rank, thread or device, and any past step can be rebuilt.

Jitter of brightness, contrast, saturation and hue is linear when contrast turns about a fixed grey (rather than about
each image's mean) and hue is a rotation of the chroma plane of YIQ (Smith and Lyons; as `hue` in DALI and Haeberli's
"Matrix Operations for Image Processing", 1993). So all four, in this order, are one affine map of RGB.

Legend: B samples.
"""

from typing import NamedTuple

import numpy as np

from david.pipeline.config import AugmentConfig
from david.pipeline.philox import words

PURPOSE = 1  # the part of the Philox counter that keeps these words apart from the order's
FLIP, BRIGHTNESS, CONTRAST, SATURATION, HUE = range(5)  # each its word; a new augmentation takes the next
_BLOCKS = 2  # of four words

MID_GREY = 127.5
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)
LUMA = RGB_TO_YIQ[0]  # Rec. 601


class Draws(NamedTuple):
    """flip: (B,) bool; colour: (B, 3, 4) float32, the map (R, G, B, 1) -> (R, G, B) in 0 .. 255 before clipping"""

    flip: np.ndarray
    colour: np.ndarray

    def identity(self) -> np.ndarray:
        """(B,) bool, where the colours stay as they are."""
        return (self.colour == np.eye(3, 4, dtype=np.float32)).all(axis=(1, 2))


def none(count: int) -> Draws:
    """No augmentation."""
    return Draws(np.zeros(count, bool), np.tile(np.eye(3, 4, dtype=np.float32), (count, 1, 1)))


def draw(seed: int, epochs: np.ndarray, ids: np.ndarray, augment: AugmentConfig) -> Draws:
    """The augmentation of each sample. epochs, ids: (B,) int64, below 2**32."""
    blocks = [words(seed, ids, block, epochs, PURPOSE) for block in range(_BLOCKS)]
    uniform = np.concatenate(blocks, axis=1) / 2.0**32  # (B, 8) float64 in [0, 1)
    signed = 2 * uniform - 1
    colour = colour_matrices(
        brightness=1 + augment.brightness * signed[:, BRIGHTNESS],
        contrast=1 + augment.contrast * signed[:, CONTRAST],
        saturation=1 + augment.saturation * signed[:, SATURATION],
        hue=augment.hue * signed[:, HUE],
    )
    if not (augment.brightness or augment.contrast or augment.saturation or augment.hue):
        colour = none(len(ids)).colour  # exactly, not but for rounding
    return Draws(uniform[:, FLIP] < augment.flip, colour)


def colour_matrices(
    brightness: np.ndarray, contrast: np.ndarray, saturation: np.ndarray, hue: np.ndarray
) -> np.ndarray:
    """Factors about 1 and hue in turns, all (B,) float64, to (B, 3, 4) float32."""
    count, identity = len(brightness), np.eye(3)
    scale = (contrast * brightness)[:, None, None] * identity
    grey = np.ones((3, 1)) * LUMA
    saturate = grey + saturation[:, None, None] * (identity - grey)
    cos, sin = np.cos(2 * np.pi * hue), np.sin(2 * np.pi * hue)
    rotation = np.zeros((count, 3, 3))
    rotation[:, 0, 0] = 1
    rotation[:, 1, 1], rotation[:, 1, 2], rotation[:, 2, 1], rotation[:, 2, 2] = cos, -sin, sin, cos
    chroma = YIQ_TO_RGB @ rotation @ RGB_TO_YIQ @ saturate
    shift = (1 - contrast)[:, None] * MID_GREY * chroma.sum(axis=2)
    return np.concatenate([chroma @ scale, shift[:, :, None]], axis=2).astype(np.float32)
