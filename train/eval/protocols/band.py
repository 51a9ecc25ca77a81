"""The unknown band of a picture's alpha, where a SAD-T is taken. H rows, W columns."""

from typing import Literal

import cv2
import numpy as np

from david.pack.shards.sample import Sample
from david.pack.sources.matting import UNKNOWN

REACH_PX = 30  # height and width of the ellipse
NOISE = 5  # of 255: alpha that a JPEG left of 0, or took from 255


def band(kind: Literal["trimap", "ellipse"] | None, sample: Sample) -> np.ndarray:
    """(H, W) bool, nowhere True without a kind."""
    if kind == "trimap":
        return sample.value("trimap") == UNKNOWN
    if kind == "ellipse":
        return ellipse(sample.alpha)
    return np.zeros(sample.alpha.shape, bool)


def ellipse(alpha: np.ndarray) -> np.ndarray:
    """Where an ellipse of 30 pixels around a pixel of alpha (H, W) uint8 holds one that is no background, and one that
    is no foreground: True. What a JPEG did to 0 and 255 counts as those."""
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (REACH_PX, REACH_PX))
    most, least = cv2.dilate(alpha, around), cv2.erode(alpha, around)
    return (most > NOISE) & (least < 255 - NOISE)
