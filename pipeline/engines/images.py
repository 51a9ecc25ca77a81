"""Images and alpha on the CPU: decoded, placed and coloured, from bytes into the batch.

Legend: H rows, W columns of the batch, h, w of a sample, C channels.
"""

import cv2
import numpy as np
import simplejpeg
import torch

from david.pack.errors import DavidError
from david.pack.shards import codecs
from david.pipeline.engines import effects
from david.pipeline.sampling.draws import Draws
from david.pipeline.sampling.placement import Placement

JPEG_START, WEBP_HEADER = b"\xff\xd8", 25  # how it begins; the bytes of a lossless WebP up to its size
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def decode(data: memoryview, out: np.ndarray) -> None:
    """An encoded image to `out` (h, w, 3) uint8 RGB. Raises DavidError where it is damaged or of another size."""
    try:
        jpeg = data[:2] == JPEG_START
        found = simplejpeg.decode_jpeg(data, "RGB", buffer=out) if jpeg else codecs.decode_rgb(data)
    except (ValueError, DavidError) as error:
        raise DavidError(f"its image can't be decoded ({error})") from error
    if found.shape != out.shape:
        raise DavidError(
            f"its image is {found.shape[0]} x {found.shape[1]}, its other fields {out.shape[0]} x {out.shape[1]}"
        )
    if not jpeg:
        np.copyto(out, found)


def size_of(data: memoryview) -> tuple[int, int] | None:
    """(h, w) by the header of a JPEG or a lossless WebP (RFC 9649, section 3.4); None where it does not tell."""
    try:
        if data[:2] == JPEG_START:
            h, w, *_ = simplejpeg.decode_jpeg_header(data)
            return int(h), int(w)
    except ValueError:
        return None
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and len(data) >= WEBP_HEADER:
        both = int.from_bytes(data[WEBP_HEADER - 4 : WEBP_HEADER], "little")
        return (both >> 14 & 0x3FFF) + 1, (both & 0x3FFF) + 1
    return None


def paint(image: np.ndarray, placement: Placement, colour: np.ndarray | None, out: np.ndarray) -> None:
    """An (h, w, 3) image placed in `out` (H, W, 3), its colours mapped by (3, 4) `colour`; both uint8.

    `out` may be the image where it is merely mirrored, or stays as it is."""
    if colour is None:
        resample(image, placement, out)
    elif placement.plain and not placement.flip:
        cv2.transform(image, colour, dst=out)
    else:
        placed = np.empty_like(out)
        resample(image, placement, placed)
        cv2.transform(placed, colour, dst=out)


def resample(image: np.ndarray, placement: Placement, out: np.ndarray) -> None:
    """An (h, w[, C]) uint8 image placed in `out` (H, W[, C]): the mean of bilinear samples at places that divide each
    pixel evenly; what lies beyond the border repeats it."""
    if placement.plain:
        if placement.flip:
            cv2.flip(image, 1, dst=out)
        elif image is not out:
            np.copyto(out, image)
        return
    height, width = out.shape[:2]
    down, across = placement.samples
    if placement.whole:
        finer_size = width * across, height * down
        sampled = cv2.resize(image, finer_size, interpolation=cv2.INTER_LINEAR)
        resized = cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA)
        cv2.flip(resized, 1, dst=out) if placement.flip else np.copyto(out, resized)
        return
    finer = placement.matrix / np.array([across, down, 1])  # from samples, `down` x `across` a pixel
    finer[:, 2] += finer[:, :2].sum(axis=1) / 2 - 0.5  # OpenCV counts from the first pixel's centre
    if (down, across) == (1, 1):
        cv2.warpAffine(image, finer, (width, height), dst=out, flags=_WARP, borderMode=cv2.BORDER_REPLICATE)
    else:
        size = width * across, height * down
        sampled = cv2.warpAffine(image, finer, size, flags=_WARP, borderMode=cv2.BORDER_REPLICATE)
        cv2.resize(sampled, (width, height), dst=out, interpolation=cv2.INTER_AREA)


def degrade(image: np.ndarray, draws: Draws, slot: int) -> None:
    """Blur, noise and JPEG's losses of a sample, in place on its (H, W, 3) uint8 image."""
    values = torch.from_numpy(image).permute(2, 0, 1)
    drawn = float(draws.blur[slot]), float(draws.noise[slot]), int(draws.noise_key[slot]), int(draws.quality[slot])
    values.copy_(effects.degrade(values, *drawn))
