"""Raw samples that tests make odd or wrong, as SynthHuman stores them."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR

from david.pack import Sample
from david.pack.shards.schema import CM
from david.pack.sources import synthhuman

Change = Callable[[Sample], Sample]


def made(
    key: str,
    rgb: np.ndarray,
    alpha: np.ndarray,
    depth_cm: np.ndarray,
    normals: np.ndarray,
    valid: np.ndarray,
    normals_valid: np.ndarray,
    intrinsics: np.ndarray | None = None,
    meta: dict[str, Any] | None = None,
) -> Sample:
    """A sample with SynthHuman's fields, and its depth in centimetres."""
    return Sample(
        key,
        rgb,
        values={"alpha": alpha, "depth": depth_cm, "normals": normals},
        masks={"alpha": np.ones(valid.shape, bool), "depth": valid, "normals": normals_valid},
        intrinsics=intrinsics,
        meta=meta or {},
        step_m=CM,
    )


def changed(
    sample: Sample,
    *,
    depth_cm: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    normals_valid: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    alpha: np.ndarray | None = None,
    **others: Any,
) -> Sample:
    """The sample with other depth (in centimetres), masks of depth and normals, normals or alpha."""
    values = {"depth": depth_cm, "normals": normals, "alpha": alpha}
    masks = {"depth": valid, "normals": normals_valid}
    return replace(
        sample,
        values=sample.values | {name: one for name, one in values.items() if one is not None},
        masks=sample.masks | {name: one for name, one in masks.items() if one is not None},
        **others,
    )


def cm(sample: Sample) -> np.ndarray:
    """(H, W) float32: depth in centimetres."""
    return sample.value("depth") if sample.step_m == CM else np.float32(sample.depth_m.astype(np.float64) * 100)


def exr_of(channels: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: np.ascontiguousarray(one) for name, one in channels.items()}, num_threads=0).write(file)
    return file.getvalue()


def store(sample: Sample, folder: Path) -> None:
    """The sample as four loose files, and its intrinsics where it has any."""
    folder.mkdir(parents=True, exist_ok=True)
    depth = np.where(sample.depth_valid, cm(sample), synthhuman.BACKGROUND).astype(np.float32)
    (folder / f"depth_{sample.key}.exr").write_bytes(exr_of({"Y": depth}))
    planes = dict(zip("BGR", np.moveaxis(sample.normals.astype(np.float32), -1, 0), strict=True))
    (folder / f"normal_{sample.key}.exr").write_bytes(exr_of(planes))
    for kind, image in (("rgb", cv2.cvtColor(sample.rgb, cv2.COLOR_RGB2BGR)), ("alpha", sample.alpha)):
        done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        (folder / f"{kind}_{sample.key}.png").write_bytes(data.tobytes())
    if sample.intrinsics is not None:
        (folder / f"cam_{sample.key}.txt").write_text(
            "\n".join(" ".join(map(repr, r)) for r in sample.intrinsics.tolist())
        )


def outline(sample: Sample) -> np.ndarray:
    """(H, W) bool: the valid pixels beside an invalid one."""
    inner = cv2.erode(sample.depth_valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return sample.depth_valid & ~inner


def at(array: np.ndarray, where: Any, value: object) -> np.ndarray:
    array = array.copy()
    array[where] = value
    return array


def spoilt(array: np.ndarray, sample: Sample, counts: dict[float, int]) -> np.ndarray:
    """The array with so many pixels of each value, spread evenly over the valid ones."""
    array, places = array.copy(), np.flatnonzero(sample.depth_valid)
    values = np.repeat(list(counts), list(counts.values()))
    for place, value in zip(places[np.linspace(0, places.size - 1, values.size).astype(int)], values, strict=True):
        array.reshape(sample.depth_valid.size, -1)[place] = value
    return array


def close_up(sample: Sample) -> Sample:
    """As large a part of the frame as is full of person, enlarged to the whole: no pixel is background."""
    for zoom in (3, 4, 6, 8, 12):
        height, width = (side // zoom for side in sample.depth_valid.shape)
        window = np.full((height, width), 1 / (height * width))
        room = cv2.filter2D(sample.depth_valid.astype(np.float64), -1, window, borderType=cv2.BORDER_CONSTANT)
        if room.max() > 1 - 1e-9:
            break
    row, column = np.unravel_index(int(room.argmax()), room.shape)
    box = slice(row - height // 2, row - height // 2 + height), slice(column - width // 2, column - width // 2 + width)

    def enlarged(array: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.resize(np.ascontiguousarray(array[box]), sample.depth_valid.shape[::-1], interpolation=how)

    normals = enlarged(sample.normals)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    valid = enlarged(sample.depth_valid.astype(np.uint8), cv2.INTER_NEAREST) > 0
    camera = None if sample.intrinsics is None else np.diag([zoom, zoom, 1.0]) @ sample.intrinsics
    return changed(
        sample,
        rgb=enlarged(sample.rgb),
        alpha=enlarged(sample.alpha),
        depth_cm=enlarged(cm(sample)),
        normals=normals,
        valid=valid,
        normals_valid=valid,
        intrinsics=camera,
    )


def noisy(sample: Sample, strength: float = 1.0) -> Sample:
    """Hair over everything: each pixel's normal tilted by chance."""
    chance = np.random.default_rng(int(sample.key)).normal(0, strength, sample.normals.shape)
    normals = (sample.normals + chance).astype(np.float32)
    return changed(sample, normals=normals / np.linalg.norm(normals, axis=-1, keepdims=True))


def kept(sample: Sample, where: np.ndarray) -> Sample:
    """Nothing else is left of the person."""
    return changed(sample, valid=sample.depth_valid & where, normals_valid=sample.depth_valid & where)


def _few(sample: Sample) -> Sample:
    rows, columns = np.nonzero(sample.depth_valid)
    row, column = rows[rows.size // 2], columns[columns.size // 2]
    near = np.zeros_like(sample.depth_valid)
    near[max(row - 8, 0) : row + 9, max(column - 8, 0) : column + 10] = True
    return kept(sample, near)


ODD: dict[str, Change] = {
    "a zero normal on the silhouette": lambda s: changed(
        s, normals=at(s.normals, np.unravel_index(int(outline(s).argmax()), s.depth_valid.shape), 0)
    ),
    "zero normals on the whole silhouette": lambda s: changed(s, normals=at(s.normals, outline(s), 0)),
    "normals of length 0.5 and NaN": lambda s: changed(s, normals=spoilt(s.normals, s, {np.nan: 500, 0.3: 77})),
    "a close-up without background": close_up,
    "300 valid pixels": _few,
    "alpha everywhere": lambda s: changed(s, alpha=np.full_like(s.alpha, 255)),
    "alpha missing on half of the person": lambda s: changed(
        s, alpha=np.where(np.arange(s.alpha.shape[0])[:, None] < np.nonzero(s.depth_valid)[0].mean(), 0, s.alpha)
    ),
    "no alpha": lambda s: changed(s, alpha=np.zeros_like(s.alpha)),
    "a depth of 5 m": lambda s: changed(s, depth_cm=cm(s) + np.float32(500)),
    "a depth of 35 m": lambda s: changed(s, depth_cm=cm(s) + np.float32(3500)),
    "a depth of 15 cm": lambda s: changed(s, depth_cm=cm(s) - np.float32(np.nanmedian(cm(s)[s.depth_valid]) - 15)),
    "noise for normals": lambda s: noisy(s, 3.0),
    "a pose that leans against the slopes": lambda s: changed(s, normals=s.normals * np.array([-1, 1, 1], np.float32)),
    "a back turned away": lambda s: changed(s, normals=s.normals * np.array([1, 1, -1], np.float32)),
    "a depth pixel of 1e30": lambda s: changed(s, depth_cm=spoilt(cm(s), s, {1e30: 1})),
    "a depth pixel of 30 m": lambda s: changed(s, depth_cm=spoilt(cm(s), s, {3000: 1})),
    "depth pixels of 0, -3, NaN and inf": lambda s: changed(
        s, depth_cm=spoilt(cm(s), s, {0: 9, -3: 7, np.nan: 5, np.inf: 3})
    ),
    "a flat wall": lambda s: changed(s, depth_cm=np.where(s.depth_valid, np.float32(150), cm(s))),
}
