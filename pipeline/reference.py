"""A batch made the slow, obvious way: tarfile, NumPy and float64, one sample after another.

It shares `order`, `draws` and `placement` with the loader, which decide what a batch is, and nothing of how it is made.
The loader's batch is this one to the bit, but for images: where they are resampled or their colours mapped, they may
differ by one step of rounding (in OpenCV's fixed-point colours 4 % of the values do), and turned normals by float16's.

Legend: B samples, H rows, W columns of the batch, h, w of a sample.
"""

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from david.pack.shards import codecs, manifest, shard
from david.pack.shards.schema import Field
from david.pipeline.batch import TARGETS, Batch
from david.pipeline.config import DataConfig
from david.pipeline.engines import effects
from david.pipeline.reading.sets import Shards, folders, parts
from david.pipeline.sampling import draws, placement
from david.pipeline.targets import Kind, union


def batch(
    shards: Shards, split: str, config: DataConfig, *, batch_size: int, seed: int, step: int, train: bool = True
) -> Batch:
    """The global batch of a step; the arguments are `loader.Loader`'s."""
    datasets, stored = [], []
    tables: list[manifest.Manifest] = []
    for name in folders(shards):
        base, *sidecars = (manifest.load_any(Path(one)) for one in parts(name))
        datasets.append(base)
        tables += [base, *sidecars]
        labels = [{_key(members): members for members in _members(one, split)} for one in sidecars]
        for members in _members(base, split):
            beside = [(one, known[_key(members)]) for one, known in zip(sidecars, labels, strict=True)]
            stored.append(((base, members[1:]), beside, members[0]))
    counts = [[listed.samples for listed in dataset.splits.get(split, ())] for dataset in datasets]
    order = config.order(counts, batch_size, seed, train)
    ids, epochs, real = order.batch(step)
    drawn = draws.draw(seed, epochs, ids, config.augment) if train else draws.none(len(ids))
    targets = union(tables)
    samples = []
    for slot, sample in enumerate(ids):
        own, beside, rgb = stored[sample]
        samples.append(_sample(rgb, [own, *beside], targets, config, drawn, slot))
    starts = np.cumsum([0, *map(sum, counts)])
    sets = np.array([max(np.flatnonzero(starts <= sample)) for sample in ids])
    pairs = [sample.pop("pairs") for sample in samples]
    made = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    most = max(map(len, pairs))
    made["pairs"] = np.stack([np.pad(p, ((0, most - len(p)), *[(0, 0)] * 2), constant_values=np.nan) for p in pairs])
    made |= {"ids": ids, "epochs": epochs, "real": real, "sets": sets}
    return Batch.of({name: torch.from_numpy(array) for name, array in made.items()})


def _members(dataset: manifest.Manifest, split: str) -> list[list[bytes]]:
    """The members of each sample of a split, in stored order."""
    datas: list[bytes] = []
    for listed in dataset.splits.get(split, ()):
        with tarfile.open(dataset.folder / f"{listed.name}.tar") as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None, f"{member.name} is no file"
                datas.append(file.read())
    each = len(dataset.fields) + 1
    return [datas[start : start + each] for start in range(0, len(datas), each)]


def _key(members: list[bytes]) -> str:
    return json.loads(members[-1])["id"]


def _sample(
    rgb: bytes,
    joined: list[tuple[manifest.Manifest, list[bytes]]],
    targets: dict[str, Kind],
    config: DataConfig,
    drawn: draws.Draws,
    slot: int,
) -> dict[str, np.ndarray]:
    known = shard.decode_about(joined[0][1][-1])
    h, w = known["height"], known["width"]
    height, width = config.height or h, config.width or w
    placed = placement.place(drawn, slot, (h, w), (height, width), config.fit)
    (xx, xy, x0), (yx, yy, y0) = placed.where().tolist()
    rows, columns = np.empty((height, width), int), np.empty((height, width), int)
    for y in range(height):
        for x in range(width):
            rows[y, x] = (yx * x + yy * y + y0) // placement.ONE
            columns[y, x] = (xx * x + xy * y + x0) // placement.ONE
    within = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    at = rows.clip(0, h - 1), columns.clip(0, w - 1)
    image = sampled(codecs.decode_rgb(rgb), placed, height, width)
    colour = drawn.colour[slot].astype(np.float64)
    image = np.rint(image @ colour[:, :3].T + colour[:, 3]).clip(0, 255)
    image = degraded(image, drawn, slot).astype(np.uint8) * within[:, :, None]
    camera = np.full((3, 3), np.nan) if known["intrinsics"] is None else known["intrinsics"]
    depth = {"offset_m": 0, "scale_m": 1} | known["fields"].get("depth", {})
    made = {
        "image": np.moveaxis(image, -1, 0),
        "intrinsics": placement.cameras([placed], camera[None])[0].astype(np.float32),
        "depth_offset_m": np.array(depth["offset_m"], np.float32),
        "depth_scale_m": np.array(depth["scale_m"], np.float32),
    }
    made["pairs"] = np.array([_pair(placed, *told) for told in known.get("pairs", [])], np.float32).reshape(-1, 2, 2)
    for name, (channels, dtype) in targets.items():
        made[f"{TARGETS}{name}.value"] = np.zeros((channels, height, width), torch.empty(0, dtype=dtype).numpy().dtype)
        made[f"{TARGETS}{name}.valid"] = np.zeros((1, height, width), bool)
    for dataset, field, data, about in _fields(joined):
        if not data:
            continue
        planes = codecs.decode_planes(data, field.planes, h, w, dataset.compression)
        values, valid = JOIN[field.coding](planes, about["fields"].get(field.name))
        if field.coding == "u8":
            values = np.rint(sampled(values, placed, height, width))
        else:
            values = values[at]
        if field.coding == "octahedral-12":
            turn = [[placed.cosine, -placed.sine, 0], [placed.sine, placed.cosine, 0], [0, 0, 1]]
            values = values @ np.transpose(turn) * [placed.mirror, 1, 1]
        valid = valid[at] & within
        if field.within:
            valid &= made[f"{TARGETS}{field.within}.valid"][0]
        made[f"{TARGETS}{field.name}.valid"][0] = valid
        made[f"{TARGETS}{field.name}.value"][:] = np.moveaxis(np.where(valid[:, :, None], values, 0), -1, 0)
    return made


def _fields(
    joined: list[tuple[manifest.Manifest, list[bytes]]],
) -> Iterator[tuple[manifest.Manifest, Field, bytes, Any]]:
    """Of each field its set or sidecar, its member, and what is told beside it there."""
    for dataset, (*stored, about) in joined:
        for field, data in zip(dataset.labels, stored, strict=True):
            yield dataset, field, data, shard.decode_about(about)


def _pair(placed: placement.Placement, row: int, column: int, other_row: int, other_column: int) -> list[list[float]]:
    """Two pixels' centres in the batch: (column, row) each, where the map to the sample takes them there."""
    (a, b, x), (c, d, y) = placed.matrix.tolist()
    det, found = a * d - b * c, []
    for j, i in ((row + 0.5, column + 0.5), (other_row + 0.5, other_column + 0.5)):
        found.append([(d * (i - x) - b * (j - y)) / det, (a * (j - y) - c * (i - x)) / det])
    return found


Values = tuple[np.ndarray, np.ndarray]  # (h, w, C), and where they are valid: (h, w) bool


def _u8(planes: np.ndarray, _: object) -> Values:
    return planes[0][:, :, None], np.ones(planes.shape[1:], bool)


def _f16(planes: np.ndarray, _: object) -> Values:
    relative = codecs.join_depth(planes)
    return relative[:, :, None], np.isfinite(relative)


def _relative(planes: np.ndarray, about: dict[str, float]) -> Values:
    """Without a unit: a product and a sum, each rounded to float32."""
    relative = codecs.join_depth(planes)[:, :, None]
    values = relative.astype(np.float32) * np.float32(about["scale"]) + np.float32(about["offset"])
    return values, np.isfinite(relative[:, :, 0])


def _u16(planes: np.ndarray, about: dict[str, float]) -> Values:
    """Relative to the range: two operations, each rounded to float32."""
    steps = planes[0].astype(np.uint16) << 8 | planes[1]
    centre, factor = about["offset_m"] / about["step_m"], about["step_m"] / about["scale_m"]
    relative = (steps.astype(np.float32) - np.float32(centre)) * np.float32(factor)
    return relative.clip(-65504, 65504).astype(np.float16)[:, :, None], (steps != 0) & (steps != 65535)


def _octahedral(planes: np.ndarray, _: object) -> Values:
    return codecs.join_normals(planes), (planes != 255).any(axis=0)


JOIN: dict[str, Callable[[np.ndarray, Any], Values]] = {
    "u8": _u8,
    "f16-affine": _f16,
    "f16-relative": _relative,
    "u16-linear": _u16,
    "octahedral-12": _octahedral,
}


def sampled(image: np.ndarray, placed: placement.Placement, height: int, width: int) -> np.ndarray:
    """(h, w, C) uint8 to (height, width, C) float64: the mean of bilinear samples that divide each pixel evenly."""
    h, w, _ = image.shape
    down, across = placed.samples
    total = np.zeros((height, width, image.shape[2]))
    for j, i in np.ndindex(down, across):
        y, x = np.mgrid[:height, :width] + np.array([(j + 0.5) / down, (i + 0.5) / across])[:, None, None]
        column, row = np.einsum("ij,jyx->iyx", placed.matrix, np.stack([x, y, np.ones_like(x)])) - 0.5
        left, top = np.floor(column).astype(int), np.floor(row).astype(int)
        for below, right in np.ndindex(2, 2):
            near = (1 - abs(top + below - row)) * (1 - abs(left + right - column))
            total += near[:, :, None] * image[(top + below).clip(0, h - 1), (left + right).clip(0, w - 1)]
    return total / (down * across)


def degraded(image: np.ndarray, drawn: draws.Draws, slot: int) -> np.ndarray:
    """(H, W, 3) whole values, blurred, noisy and compressed where the sample's draws say so, float64."""
    if drawn.blur[slot]:
        image = np.rint(blurred(image, float(drawn.blur[slot])))
    if drawn.noise[slot]:
        delta = np.rint(np.float32(drawn.noise[slot]) * grain(int(drawn.noise_key[slot]), image.shape))
        image = (image + delta).clip(0, 255)
    if drawn.quality[slot]:
        image = compressed(image, int(drawn.quality[slot]))
    return image


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(np.ceil(3 * sigma))
    h, w, _ = image.shape
    weights = np.array([np.exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)])
    weights /= weights.sum()
    shifts = list(zip(range(-reach, reach + 1), weights, strict=True))
    image = np.sum([weight * image[:, (np.arange(w) + d).clip(0, w - 1)] for d, weight in shifts], axis=0)
    return np.sum([weight * image[(np.arange(h) + d).clip(0, h - 1)] for d, weight in shifts], axis=0)


def grain(key: int, shape: tuple[int, ...]) -> np.ndarray:
    """Sums of the four bytes of each place's hash, of mean 0 and deviation 1, float32."""
    x = np.arange(np.prod(shape), dtype=np.uint32) ^ np.uint32(key)
    x = (x ^ x >> 16) * np.uint32(0x7FEB352D)
    x = (x ^ x >> 15) * np.uint32(0x846CA68B)
    x = x ^ x >> 16
    total = x.view(np.uint8).reshape(-1, 4).sum(axis=1, dtype=np.int64)
    return ((total - 510).astype(np.float32) / np.float32(np.sqrt((256**2 - 1) / 3))).reshape(shape)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Block by block: colours to Y Cb Cr, cosines, whole steps, and back."""
    h, w, _ = image.shape
    padded = np.pad(image - 128, ((0, -h % 8), (0, -w % 8), (0, 0)), mode="edge") @ effects.YCC.T
    steps = effects.quantisation(quality).reshape(3, 8, 8)
    cosines = effects.cosines()
    for channel in range(3):
        for top, left in np.ndindex(padded.shape[0] // 8, padded.shape[1] // 8):
            block = padded[8 * top : 8 * top + 8, 8 * left : 8 * left + 8, channel]
            coefficients = cosines @ block @ cosines.T / steps[channel]
            whole = np.floor(coefficients + 0.5 + effects.TIE) * steps[channel]
            block[:] = cosines.T @ whole @ cosines
    return np.rint(padded[:h, :w] @ np.linalg.inv(effects.YCC).T + 128).clip(0, 255)
