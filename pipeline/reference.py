"""A batch made the slow, obvious way: tarfile, NumPy and float64, one sample after another.

It shares `order` and `draws` with the loader, which decide what a batch is, and nothing of how it is made. The
loader's batch is this one to the bit, but for images: where they are resized or their colours mapped, each of the two
may differ by one step of rounding (in OpenCV's fixed-point colours 4 % of the values do).

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import tarfile
from pathlib import Path

import numpy as np
import torch

from david.pack import codecs, manifest, shard
from david.pipeline import draws
from david.pipeline.batch import Batch
from david.pipeline.config import DataConfig
from david.pipeline.order import Order


def batch(
    shards: Path, split: str, config: DataConfig, *, batch_size: int, seed: int, step: int, train: bool = True
) -> Batch:
    """The global batch of a step; the arguments are `loader.Loader`'s."""
    members = _members(Path(shards), split)
    compression = manifest.load(Path(shards)).compression
    order = Order(len(members), batch_size, seed, shuffle=train, last_batch=config.last_batch if train else "pad")
    ids, epochs, real = order.batch(step)
    drawn = draws.draw(seed, epochs, ids, config.augment) if train else draws.none(len(ids))
    samples = [
        _sample(members[sample], compression, config, bool(drawn.flip[slot]), drawn.colour[slot].astype(np.float64))
        for slot, sample in enumerate(ids)
    ]
    fields = {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
    return Batch(**fields, ids=torch.from_numpy(ids), epochs=torch.from_numpy(epochs), real=torch.from_numpy(real))


def _members(folder: Path, split: str) -> list[list[bytes]]:
    """The five members of each sample of a split, in stored order."""
    datas: list[bytes] = []
    for listed in manifest.load(folder).split(split):
        with tarfile.open(folder / f"{listed.name}.tar") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None, f"{member.name} is no file"
                datas.append(file.read())
    return [datas[start : start + 5] for start in range(0, len(datas), 5)]


def _sample(
    members: list[bytes], compression: manifest.Compression, config: DataConfig, flip: bool, colour: np.ndarray
) -> dict[str, np.ndarray]:
    rgb, *stored, about = members
    known = shard.decode_about(about)
    h, w = known["height"], known["width"]
    alpha, depth, normals = (
        codecs.decode_planes(data, count, h, w, compression) for data, count in zip(stored, (1, 2, 3), strict=True)
    )
    image, alpha = codecs.decode_rgb(rgb), alpha[0][:, :, None]
    relative, vectors = codecs.join_depth(depth), codecs.join_normals(normals)
    intrinsics = np.full((3, 3), np.nan) if known["intrinsics"] is None else known["intrinsics"].copy()

    height, width = config.height or h, config.width or w
    if config.height:
        image, alpha = resize(image, height, width), resize(alpha, height, width)
        rows = [int((row + 0.5) * h / height) for row in range(height)]
        columns = [int((column + 0.5) * w / width) for column in range(width)]
        relative, vectors = relative[rows][:, columns], vectors[rows][:, columns]
        intrinsics[0] *= width / w
        intrinsics[1] *= height / h
    if flip:
        image, alpha, relative, vectors = image[:, ::-1], alpha[:, ::-1], relative[:, ::-1], vectors[:, ::-1]
        vectors = vectors * [-1, 1, 1]
        intrinsics[0, 2] = width - intrinsics[0, 2]
        intrinsics[0, 1] *= -1
    image = np.rint(image @ colour[:, :3].T + colour[:, 3]).clip(0, 255).astype(np.uint8)
    valid = ~np.isnan(relative)
    return {
        "image": np.moveaxis(image, -1, 0),
        "alpha": np.moveaxis(alpha, -1, 0).copy(),
        "depth": np.where(valid, relative, 0).astype(np.float16)[None],
        "valid": valid[None],
        "normals": np.moveaxis(np.where(valid[:, :, None], vectors, 0).astype(np.float16), -1, 0),
        "intrinsics": intrinsics.astype(np.float32),
        "depth_offset_cm": np.array(known["depth_offset_cm"], np.float32),
        "depth_scale_cm": np.array(known["depth_scale_cm"], np.float32),
    }


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, C) uint8 to (height, width, C) by a triangle of two pixels' width, the source's or, if larger, the
    target's; what lies beyond the border repeats it."""
    down, across = _triangles(image.shape[0], height), _triangles(image.shape[1], width)
    return np.rint(np.einsum("yj,jic,xi->yxc", down, image.astype(np.float64), across, optimize=True)).astype(np.uint8)


def _triangles(source: int, target: int) -> np.ndarray:
    """(target, source) weights, rows adding up to 1."""
    scale = source / target
    reach = max(scale, 1.0)
    weights = np.zeros((target, source))
    for pixel in range(target):
        centre = (pixel + 0.5) * scale - 0.5
        for tap in range(int(np.floor(centre - reach)), int(np.ceil(centre + reach)) + 1):
            weights[pixel, min(max(tap, 0), source - 1)] += max(0.0, 1 - abs(tap - centre) / reach)
    return weights / weights.sum(axis=1, keepdims=True)
