"""What cameras do to an image: blur, noise and JPEG's losses, in this order, on any device.

Noise is a hash of each value's place, so any engine gives the same; JPEG's losses are its transform and quantisation
(ITU-T T.81, annex A and the tables of annex K, scaled by quality as libjpeg does) without its entropy coding.

Legend: H rows, W columns of the batch.
"""

from functools import lru_cache
from math import ceil

import numpy as np
import torch
from torch.nn.functional import conv2d, pad

TIE = 1e-3  # added before rounding coefficients, so that exact halves go the same way in any arithmetic
BLOCK = 8
# fmt: off
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)
# fmt: on
YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def degrade(image: torch.Tensor, blur: float, noise: float, noise_key: int, quality: int) -> torch.Tensor:
    """A (3, H, W) uint8 image, blurred, noisy and compressed; each is left out where it is 0."""
    values = image.float()
    if blur:
        values = blurred(values, blur).round()
    if noise:
        values = (values + (noise * grain(noise_key, image.shape, image.device)).round()).clamp(0, 255)
    if quality:
        values = compressed(values, quality)
    return values.to(torch.uint8)


def blurred(values: torch.Tensor, sigma: float) -> torch.Tensor:
    """(3, H, W) float32 through a Gaussian out to three sigmas; what lies beyond the border repeats it."""
    reach = ceil(3 * sigma)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-(places**2) / (2 * sigma**2))
    weights = (weights / weights.sum()).float().to(values.device)
    weights, values = _exact(weights), _exact(values)
    padded = pad(values[:, None], (reach, reach, reach, reach), mode="replicate")
    return conv2d(conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))[:, 0]


def _exact(values: torch.Tensor) -> torch.Tensor:
    """float64 on a GPU, where products of float32 may be rounded to TF32, as the process has it set."""
    return values.double() if values.is_cuda else values


def grain(key: int, shape: torch.Size, device: torch.device) -> torch.Tensor:
    """Values of mean 0 and deviation 1: sums of four bytes of a hash (Wellons, `lowbias32`) of each value's place in
    (H, W, 3), (3, H, W) float32."""
    count, h, w = shape
    x = torch.arange(h * w * count, dtype=torch.int64, device=device) ^ key
    for shift, multiplier in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ x >> shift) * multiplier) & 0xFFFFFFFF
    x = x ^ x >> 16
    total = (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24)
    deviation = ((256**2 - 1) / 3) ** 0.5
    return ((total - 510).float() / deviation).view(h, w, count).permute(2, 0, 1)


def compressed(values: torch.Tensor, quality: int) -> torch.Tensor:
    """(3, H, W) float32, whole values in 0 .. 255, after JPEG 4:4:4 of that quality."""
    _, h, w = values.shape
    to_ycc, from_ycc, transform, steps = (_exact(part.to(values.device)) for part in _jpeg(quality))
    values = _exact(values)
    planes = torch.einsum("ij,jhw->ihw", to_ycc, values - 128)
    planes = pad(planes[None], (0, -w % BLOCK, 0, -h % BLOCK), mode="replicate")[0]
    blocks = planes.unflatten(1, (-1, BLOCK)).unflatten(3, (-1, BLOCK)).transpose(2, 3)  # (3, rows, columns, 8, 8)
    coefficients = transform @ blocks @ transform.T
    coefficients = torch.floor(coefficients / steps + (0.5 + TIE)) * steps
    blocks = transform.T @ coefficients @ transform
    planes = blocks.transpose(2, 3).flatten(3).flatten(1, 2)[:, :h, :w]
    return (torch.einsum("ij,jhw->ihw", from_ycc, planes) + 128).round().clamp(0, 255)


@lru_cache(maxsize=128)
def _jpeg(quality: int) -> tuple[torch.Tensor, ...]:
    """Colours to Y Cb Cr and back (3, 3), the cosine transform (8, 8), and the steps (3, 1, 1, 8, 8), float32."""
    steps = quantisation(quality).reshape(3, 1, 1, BLOCK, BLOCK)
    return tuple(torch.from_numpy(part).float() for part in (YCC, np.linalg.inv(YCC), cosines(), steps))


def cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values, (8, 8) float64."""
    frequency, place = np.arange(BLOCK)[:, None], np.arange(BLOCK)
    return np.cos(np.pi * (2 * place + 1) * frequency / 16) * np.where(frequency, 0.5, 8**-0.5)


def quantisation(quality: int) -> np.ndarray:
    """The steps of Y, Cb and Cr at a quality of 1 .. 100, (3, 64) float64."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    tables = np.array([LUMINANCE, CHROMINANCE, CHROMINANCE])
    return ((tables * scale + 50) // 100).clip(1, 255).astype(np.float64)
