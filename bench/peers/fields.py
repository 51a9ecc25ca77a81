"""What every peer delivers, and the plain functions that decode it.

image: (B, H, W, 3) uint8; alpha: (B, H, W) uint8; depth: (B, H, W) float16, 0 where invalid; valid: (B, H, W) bool;
normals: (B, 3, H, W) float16. Peers store JPEG as david does, and the rest as LZ4 of the very values that they
deliver, which is the fastest to decode without code of one's own: depth and normals are joined and halved already.

Legend: B samples, H rows, W columns.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import lz4.block
import numpy as np
import simplejpeg

from david.pack.shards import codecs
from david.pack.shards.sample import Sample
from david.pack.sources import synthhuman

Stored = dict[str, bytes]  # jpg, alpha, depth, normals
NAMES = ("jpg", "alpha", "depth", "normals")


def stored(raw: Path, samples: int) -> Iterator[Stored]:
    """The first samples of a raw folder, as peers store them."""
    for key, kinds in islice(synthhuman.scan(raw).items(), samples):
        yield store(synthhuman.load(key, kinds))


def store(sample: Sample) -> Stored:
    """JPEG, and LZ4 at david's own level."""
    depth, _, _ = codecs.normalise_depth(sample.value("depth"), sample.depth_valid)
    normals = np.where(sample.depth_valid, np.moveaxis(sample.normals, -1, 0), 0).astype(np.float16)
    arrays = {"alpha": sample.alpha, "depth": depth, "normals": normals}

    def packed(data: bytes) -> bytes:
        return lz4.block.compress(data, mode="high_compression", compression=codecs.LZ4_LEVEL)

    rgb = codecs.encode_rgb(sample.rgb, "jpeg")
    return {"jpg": rgb} | {name: packed(np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}


def decode(stored: Mapping[str, Any], into: Mapping[str, np.ndarray]) -> None:
    """Fill `into`, one sample of a batch, mirrored or not by chance."""
    image = simplejpeg.decode_jpeg(stored["jpg"], "RGB")
    h, w, _ = image.shape
    alpha, depth, normals = (lz4.block.decompress(stored[name]) for name in NAMES[1:])
    bits = np.frombuffer(depth, np.uint16).reshape(h, w)
    vectors = np.frombuffer(normals, np.uint16).reshape(3 * h, w)
    alphas = np.frombuffer(alpha, np.uint8).reshape(h, w)
    if random.random() < 0.5:
        cv2.flip(image, 1, dst=into["image"])
        cv2.flip(alphas, 1, dst=into["alpha"])
        bits = cv2.flip(bits, 1).view(np.uint16)
        cv2.flip(vectors, 1, dst=into["normals"].view(np.uint16).reshape(3 * h, w))
        into["normals"].view(np.uint16)[0] ^= 0x8000
    else:
        np.copyto(into["image"], image)
        np.copyto(into["alpha"], alphas)
        np.copyto(into["normals"].view(np.uint16), vectors.reshape(3, h, w))
    np.less_equal(bits & 0x7FFF, 0x7C00, out=into["valid"])
    np.multiply(bits, into["valid"], out=into["depth"].view(np.uint16))


def decode_batch(samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A batch of `decode`d samples, each written to its place at once."""
    h, w, _, _ = simplejpeg.decode_jpeg_header(samples[0]["jpg"])
    batch = empty(int(h), int(w), len(samples))
    for slot, stored in enumerate(samples):
        decode(stored, {name: field[slot] for name, field in batch.items()})
    return batch


def tensors(samples: Sequence[Mapping[str, Any]]) -> Any:
    """`decode_batch` as tensors, for a DataLoader's workers, which hand those over in shared memory."""
    import torch

    return {name: torch.from_numpy(field) for name, field in decode_batch(samples).items()}


def empty(h: int, w: int, count: int) -> dict[str, np.ndarray]:
    """Memory for a batch's fields."""
    return {
        "image": np.empty((count, h, w, 3), np.uint8),
        "alpha": np.empty((count, h, w), np.uint8),
        "depth": np.empty((count, h, w), np.float16),
        "valid": np.empty((count, h, w), bool),
        "normals": np.empty((count, 3, h, w), np.float16),
    }
