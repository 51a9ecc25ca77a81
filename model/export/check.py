"""Does an exported file say what the network says: both on the same images, output by output.

B images, S the side of the square in pixels, N values of an output.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from david.model.export.tasks import Precision
from david.model.predict.engine import Engine
from david.model.predict.fields import DEPTHS
from david.model.predict.onnx_file import OnnxEngine

# Of the difference, the largest and the 99.9th percentile. float32: both sum in another order, some 1e-5 after 30
# layers; a wrong constant, axis or resize is seen from 1e-2 on. float16 has 11 bits: each rounding is 5e-4, a ViT of 24
# blocks makes some 5e-3 of them, and single pixels on edges several times that.
LIMITS: dict[Precision, tuple[float, float]] = {"fp32": (1e-3, 1e-4), "fp16": (1e-1, 2e-2)}
TURNS = 5


@dataclass(frozen=True)
class Difference:
    """Of one output. largest, most: the largest difference and its 99.9th percentile, of depth as shares of the range
    that it has over the images; limits: of the two"""

    largest: float
    most: float
    limits: tuple[float, float]

    @property
    def within(self) -> bool:
        return self.largest <= self.limits[0] and self.most <= self.limits[1]  # false for NaN


class Pt2Engine(Engine):
    """A file of torch.export in the same contract."""

    def __init__(self, path: Path, fields: Sequence[str], side: int):
        with path.open("rb") as file:  # by its name alone it must end in .pt2
            self.module = torch.export.load(file).module()
        self.fields, self.side = tuple(fields), side

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        bgr = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).permute(0, 3, 1, 2).float() / 255
        said = dict(zip(self.fields, (answer.numpy() for answer in self.module(bgr)), strict=True))
        for name in set(DEPTHS) & set(said):
            said[name] = said[name][:, None]
        if tuple(said) == ("relative_depth",):  # nearness alone, distance among others
            said["relative_depth"] = -said["relative_depth"]
        return said


def opened(path: Path, fields: Sequence[str], side: int) -> Engine:
    """A file that was just written, whatever its name."""
    return OnnxEngine(path) if path.read_bytes()[:2] != b"PK" else Pt2Engine(path, fields, side)


def generated(side: int, count: int = 4) -> list[np.ndarray]:
    """(S, S, 3) uint8 each: soft blobs of colour with a little noise, from soft to fine; the same each time."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        cells = min(side, 2 + 6 * number)
        coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        soft = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        images.append(np.clip(soft + rng.normal(0, 4 * number, soft.shape), 0, 255).astype(np.uint8))
    return images


def differences(
    network: Engine, file: Engine, images: Sequence[np.ndarray], precision: Precision
) -> dict[str, Difference]:
    """By field, over all images, (S, S, 3) uint8 each, two at a time where the file takes so many."""
    apart: dict[str, list[np.ndarray]] = {name: [] for name in file.fields}
    lowest, highest = dict.fromkeys(file.fields, np.inf), dict.fromkeys(file.fields, -np.inf)
    at_once = min(2, file.batch or 2)
    for start in range(0, len(images), at_once):
        some = np.stack(images[start : start + at_once])
        expected, found = network(some), file(some)
        for name in file.fields:
            if found[name].shape != expected[name].shape:
                raise ValueError(f"{name}: expected {expected[name].shape}, found {found[name].shape}")
            apart[name].append(np.abs(expected[name] - found[name]).ravel())
            lowest[name] = min(lowest[name], float(expected[name].min()))
            highest[name] = max(highest[name], float(expected[name].max()))
    result = {}
    for name, parts in apart.items():
        values = np.concatenate(parts) / ((highest[name] - lowest[name]) or 1.0 if name in DEPTHS else 1.0)
        result[name] = Difference(float(values.max()), float(np.quantile(values, 0.999)), LIMITS[precision])
    return result


def milliseconds(engine: Engine, image: np.ndarray, turns: int = TURNS) -> float:
    """The median time of one image, (S, S, 3), after one that is not counted."""
    taken = []
    for _ in range(turns + 1):
        begin = time.perf_counter()
        engine(image[None])
        taken.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(taken[1:])
