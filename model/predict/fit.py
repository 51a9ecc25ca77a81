"""How a picture of any size reaches a network that sees one size, and how what it says comes back.

    square   the official demo's way: padded to a square with its own border, halved while it is over 1,536 pixels,
             resized bilinearly; back by cubics, and cut to the picture
    stretch  resized to the square whatever its shape
    own      resized with its shape kept, its longer side as long as the square's: for networks that see any size
    shorter  Depth Anything's official way: resized by cubics with its shape kept, its shorter side as long as the
             square's at least, both sides multiples of 14; back bilinearly, the corners' centres on each other

H, W: of the picture; h, w: of what the network sees. All other resizing is OpenCV's, pixels' centres at half-integers.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from david.model.predict.fields import Fields, finished
from david.pack.errors import DavidError

Fit = Literal["square", "stretch", "own", "shorter"]
ANY_SHAPE = ("own", "shorter")  # for networks that see any size
LONGEST_BEFORE_RESIZE = 1536  # sides above it are halved first, so that the resize skips few pixels
MOST_PIXELS = 2**28  # of the square around a picture: 16,384 x 16,384
MULTIPLE = 32  # of pixels, that the sides of a picture which keeps its shape are rounded to
PATCH = 14  # the same of `shorter`
LONGEST = 8  # times as long as the shorter side a picture may be there: attention over more would fill the memory


def require(fit: str) -> None:
    """Raise DavidError where there is no such way."""
    if fit not in get_args(Fit):
        raise DavidError(f"fit is {fit!r}; it must be {', '.join(map(repr, get_args(Fit)))}")


@dataclass(frozen=True)
class Prepared:
    """image: (h, w, 3) RGB, as the network sees it, uint8, or of `shorter` float32 0 .. 1, which cubics may leave
    shape: H, W; fit: how it was brought there"""

    image: np.ndarray
    shape: tuple[int, int]
    fit: Fit

    @property
    def seen(self) -> np.ndarray:
        """(h, w, 3) uint8."""
        if self.image.dtype == np.uint8:
            return self.image
        return np.rint(np.clip(self.image, 0, 1) * np.float32(255)).astype(np.uint8)

    def restored(self, said: dict[str, np.ndarray]) -> Fields:
        """said: (C, h, w) float32 by name, of the image; at the picture's size."""
        return Fields({name: finished(name, self._back(values)) for name, values in said.items()})

    def _back(self, values: np.ndarray) -> np.ndarray:
        """(C, h, w) to (H, W, C)."""
        if self.fit == "shorter":
            return _corners_aligned(values, self.shape)
        top, left, side = _padding(self.shape)
        size = (side, side) if self.fit == "square" else self.shape
        planes = [cv2.resize(plane, size[::-1], interpolation=cv2.INTER_CUBIC) for plane in values]
        if self.fit == "square":
            (height, width) = self.shape
            planes = [plane[top : top + height, left : left + width] for plane in planes]
        return cv2.merge(planes)[..., None] if len(planes) == 1 else cv2.merge(planes)


def prepare(rgb: np.ndarray, fit: Fit, side: int) -> Prepared:
    """rgb: (H, W, 3) uint8; side: of the square that the network sees, or the shorter one. Raises DavidError where the
    square around the picture would be too large, or the picture is too long."""
    shape = (rgb.shape[0], rgb.shape[1])
    if fit == "square":
        top, left, whole = _padding(shape)
        if whole * whole > MOST_PIXELS:
            raise DavidError(
                f"{shape[1]} x {shape[0]} pixels: the square around it would have {whole * whole / 1e6:,.0f} million "
                f"pixels, more than {MOST_PIXELS / 1e6:,.0f} million; cut or shrink it, or take the fit `stretch`"
            )
        below, right = whole - shape[0] - top, whole - shape[1] - left
        if whole > min(shape):
            rgb = cv2.copyMakeBorder(rgb, top, below, left, right, cv2.BORDER_REPLICATE)
    if fit == "shorter":
        size = _by_shorter(shape, side)
        image = rgb.astype(np.float32) / np.float32(255)
        image = image if shape == size else cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
        return Prepared(np.ascontiguousarray(image), shape, fit)
    size = (side, side) if fit != "own" else _kept(shape, side)
    while max(rgb.shape[:2]) > LONGEST_BEFORE_RESIZE and min(rgb.shape[:2]) > 1:
        rgb = cv2.pyrDown(rgb)
    if rgb.shape[:2] != size:
        rgb = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_LINEAR)
    return Prepared(np.ascontiguousarray(rgb), shape, fit)


def _padding(shape: tuple[int, int]) -> tuple[int, int, int]:
    """Rows above, columns to the left, and the side of the square; an odd pixel stands at the end."""
    side = max(shape)
    return (side - shape[0]) // 2, (side - shape[1]) // 2, side


def _kept(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Rows and columns with the shape kept, the longer as long as `side`, both rounded."""
    scale = side / max(shape)
    height, width = (max(MULTIPLE, round(length * scale / MULTIPLE) * MULTIPLE) for length in shape)
    return height, width


def _by_shorter(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Rows and columns with the shape kept, the shorter `side` at least, both multiples of 14."""
    if max(shape) > LONGEST * min(shape):
        raise DavidError(
            f"{shape[1]} x {shape[0]} pixels: more than {LONGEST} times as long as it is wide; cut it, or take the fit "
            "`stretch`"
        )
    scale = side / min(shape)
    height, width = (round(length * scale / PATCH) * PATCH for length in shape)
    least = -(-side // PATCH) * PATCH
    return max(height, least), max(width, least)


def _corners_aligned(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(C, h, w) to (H, W, C)."""
    import torch

    found = torch.from_numpy(np.ascontiguousarray(values))[None]
    if values.shape[1:] != shape:
        found = torch.nn.functional.interpolate(found, shape, mode="bilinear", align_corners=True)
    return np.ascontiguousarray(found[0].permute(1, 2, 0).numpy())
