"""Images and cameras under the augmentations, where DALI's graph does not do them (`decode.py`).

The pixel in column i and row j covers [i, i + 1) x [j, j + 1), so its centre is at (i + 0.5, j + 0.5), as in the
shards' intrinsics. A mirrored image then has c_x' = W - c_x, and a resize scales both coordinates by its factors.

Legend: B samples, H rows, W columns of the batch.
"""

import cv2
import numpy as np


def paint(image: np.ndarray, flip: bool, colour: np.ndarray | None, out: np.ndarray) -> None:
    """Copy an (H, W, 3) uint8 image to `out`, mirrored where `flip`, its colours mapped by (3, 4) `colour`."""
    if flip and colour is not None:
        cv2.transform(cv2.flip(image, 1), colour, dst=out)
    elif flip:
        cv2.flip(image, 1, dst=out)
    elif colour is not None:
        cv2.transform(image, colour, dst=out)
    else:
        np.copyto(out, image)


def move_intrinsics(intrinsics: np.ndarray, scale: np.ndarray, flip: np.ndarray, width: int) -> np.ndarray:
    """Intrinsics of resized and mirrored images: (B, 3, 3) float64 to (B, 3, 3) float32.

    scale: (B, 2), the batch's width and height over the sample's; flip: (B,) bool; width: the batch's.
    The mirrored image is what the camera sees of the mirrored world: K' = F K diag(-1, 1, 1)."""
    moved = intrinsics * np.concatenate([scale, np.ones((len(scale), 1))], axis=1)[:, :, None]
    mirror = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]])
    moved[flip] = mirror @ moved[flip] @ np.diag([-1.0, 1, 1])
    return moved.astype(np.float32)
