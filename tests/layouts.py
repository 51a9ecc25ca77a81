"""Small sets in the layouts of benchmarks, as their authors publish them."""

import io
from pathlib import Path

import cv2
import numpy as np
from people import exr_of

from david.pack import Sample, synth

SIZE = 48, 36  # rows, columns
COUNT = 3


def people(count: int = COUNT, size: tuple[int, int] = SIZE) -> list[Sample]:
    return [synth.render(7, number, "upper_body", *size) for number in range(count)]


def picture(path: Path, pixels: np.ndarray) -> None:
    """RGB, RGBA or grey, in the format that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    orders = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    order = orders[pixels.shape[2] if pixels.ndim == 3 else 2]
    assert cv2.imwrite(str(path), pixels if order is None else cv2.cvtColor(pixels, order))


def trimap(alpha: np.ndarray) -> np.ndarray:
    """0, 128 and 255, with a band around what is soft."""
    around = np.ones((5, 5), np.uint8)
    most, least = cv2.dilate(alpha, around), cv2.erode(alpha, around)
    return np.where(least == 255, 255, np.where(most == 0, 0, 128)).astype(np.uint8)


def p3m(folder: Path, images: str = "original_image", samples: list[Sample] | None = None) -> Path:
    for number, one in enumerate(samples or people()):
        picture(folder / images / f"p_{number:04}.jpg", one.rgb)
        picture(folder / "mask" / f"p_{number:04}.png", one.alpha)
        picture(folder / "trimap" / f"p_{number:04}.png", trimap(one.alpha))
    return folder


def ppm(folder: Path, samples: list[Sample] | None = None) -> Path:
    for number, one in enumerate(samples or people()):
        picture(folder / "image" / f"{number}.jpg", one.rgb)
        picture(folder / "matte" / f"{number}.jpg", one.alpha)
    return folder


def cutouts(folder: Path, samples: list[Sample] | None = None) -> Path:
    for number, one in enumerate(samples or people()):
        picture(folder / f"{number:02}.png", np.concatenate([one.rgb, one.alpha[..., None]], axis=-1))
    return folder


def number_file(path: Path, values: np.ndarray) -> None:
    """Floats (H, W) or (H, W, 3) as an EXR or NPY, or whole steps as a PNG, as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".exr":
        names = "Y" if values.ndim == 2 else "RGB"
        planes = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
        path.write_bytes(exr_of(dict(zip(names, (plane.astype(np.float32) for plane in planes), strict=True))))
    elif path.suffix == ".npy":
        file = io.BytesIO()
        np.save(file, values)
        path.write_bytes(file.getvalue())
    else:
        picture(path, values)


def rendered(folder: Path, samples: list[Sample] | None = None, depth: str = "exr", normal: str = "npy") -> Path:
    """image|depth|normal|mask/SCENE/FRAME, background 0; PNGs of depth in millimetres."""
    for number, one in enumerate(samples or people()):
        frame = f"pair{number % 2}/{number:06}"
        picture(folder / "image" / f"{frame}.png", one.rgb)
        picture(folder / "mask" / f"{frame}.png", one.depth_valid.astype(np.uint8) * 255)
        metres = np.where(one.depth_valid, one.depth_m, 0)
        stored = np.rint(metres * 1000).astype(np.uint16) if depth == "png" else metres
        number_file(folder / "depth" / f"{frame}.{depth}", stored)
        vectors = np.where(one.depth_valid[..., None], one.normals, 0).astype(np.float32)
        coded = np.rint((vectors + 1) / 2 * 65535).astype(np.uint16) if normal == "png" else vectors
        number_file(folder / "normal" / f"{frame}.{normal}", coded)
    return folder
