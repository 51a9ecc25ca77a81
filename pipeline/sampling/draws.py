"""All chance in augmentation, drawn from a counter keyed by (seed, epoch, sample).

So a sample's augmentation does not depend on its batch, rank, thread or device, and any past step can be rebuilt.

Jitter of brightness, contrast, saturation and hue is linear when contrast turns about a fixed grey (rather than about
each image's mean) and hue is a rotation of the chroma plane of YIQ (Smith and Lyons; as `hue` in DALI and Haeberli's
"Matrix Operations for Image Processing", 1993). So all four, in this order, are one affine map of RGB.

Legend: B samples.
"""

from typing import NamedTuple

import numpy as np

from david.pipeline.sampling.augment import AugmentConfig
from david.pipeline.sampling.philox import words

PURPOSE = 1  # the part of the Philox counter that keeps these words apart from the order's
FLIP, BRIGHTNESS, CONTRAST, SATURATION, HUE = range(5)  # each its word; a new augmentation takes the next
GREY, KEPT, RIGHT, BELOW, ANGLE = range(5, 10)
BLUR, BLUR_SIGMA, NOISE, NOISE_SIGMA, NOISE_KEY, JPEG, QUALITY = range(10, 17)
_BLOCKS = 5  # of four words

BLUR_SIGMAS = (0.1, 2.0)  # pixels of the batch
NOISE_SIGMAS = (1.0, 10.0)  # levels of 255
QUALITIES = (30, 95)

MID_GREY = 127.5
RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
YIQ_TO_RGB = np.linalg.inv(RGB_TO_YIQ)
LUMA = RGB_TO_YIQ[0]  # Rec. 601


class Draws(NamedTuple):
    """What is done to each sample.

    flip: (B,) bool, mirrored last
    colour: (B, 3, 4) float32, the map (R, G, B, 1) -> (R, G, B) in 0 .. 255 before clipping
    kept: (B,) float64, the part of each side that a crop keeps
    right, below: (B,) float64 in -1 .. 1, where in its free space the crop lies
    angle: (B,) float64, radians by which the crop is turned, clockwise as one sees it
    blur: (B,) float64, standard deviation in pixels of the batch, 0 for none
    noise: (B,) float64, standard deviation in levels of 255, 0 for none; noise_key: (B,) uint32, what it grows from
    quality: (B,) int64, of a JPEG that the image is passed through, 0 for none
    """

    flip: np.ndarray
    colour: np.ndarray
    kept: np.ndarray
    right: np.ndarray
    below: np.ndarray
    angle: np.ndarray
    blur: np.ndarray
    noise: np.ndarray
    noise_key: np.ndarray
    quality: np.ndarray

    def recoloured(self) -> np.ndarray:
        """(B,) bool, where colours change."""
        return (self.colour != np.eye(3, 4, dtype=np.float32)).any(axis=(1, 2))

    def degraded(self) -> np.ndarray:
        """(B,) bool, where the image is blurred, noisy or compressed."""
        return (self.blur > 0) | (self.noise > 0) | (self.quality > 0)


def none(count: int) -> Draws:
    """No augmentation."""
    zeros = np.zeros(count)
    colour = np.tile(np.eye(3, 4, dtype=np.float32), (count, 1, 1))
    key, quality = np.zeros(count, np.uint32), np.zeros(count, np.int64)
    return Draws(np.zeros(count, bool), colour, np.ones(count), zeros, zeros, zeros, zeros, zeros, key, quality)


def draw(seed: int, epochs: np.ndarray, ids: np.ndarray, augment: AugmentConfig) -> Draws:
    """The augmentation of each sample. epochs, ids: (B,) int64, below 2**32."""
    drawn = words(seed, ids[:, None], np.arange(_BLOCKS), epochs[:, None], PURPOSE).reshape(len(ids), -1)
    uniform = drawn / 2.0**32  # (B, 20) float64 in [0, 1)
    signed = 2 * uniform - 1
    if augment.brightness or augment.contrast or augment.saturation or augment.hue or augment.grey:
        grey = uniform[:, GREY] < augment.grey
        colour = colour_matrices(
            brightness=1 + augment.brightness * signed[:, BRIGHTNESS],
            contrast=1 + augment.contrast * signed[:, CONTRAST],
            saturation=np.where(grey, 0, 1 + augment.saturation * signed[:, SATURATION]),
            hue=augment.hue * signed[:, HUE],
        )
    else:
        colour = none(len(ids)).colour  # exactly, not but for rounding

    def within(bounds: tuple[float, float], word: int) -> np.ndarray:
        return bounds[0] + (bounds[1] - bounds[0]) * uniform[:, word]

    return Draws(
        flip=uniform[:, FLIP] < augment.flip,
        colour=colour,
        kept=1 - augment.crop * uniform[:, KEPT],
        right=signed[:, RIGHT],
        below=signed[:, BELOW],
        angle=np.radians(augment.turn) * signed[:, ANGLE],
        blur=np.where(uniform[:, BLUR] < augment.blur, within(BLUR_SIGMAS, BLUR_SIGMA), 0),
        noise=np.where(uniform[:, NOISE] < augment.noise, within(NOISE_SIGMAS, NOISE_SIGMA), 0),
        noise_key=drawn[:, NOISE_KEY],
        quality=np.where(uniform[:, JPEG] < augment.jpeg, within(QUALITIES, QUALITY).round().astype(np.int64), 0),
    )


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
