"""Small sets in the layouts of benchmarks, as their authors publish them."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import rooms
from people import exr_of
from rooms import View

from david.pack import Sample, synth

SIZE = 48, 36  # rows, columns
COUNT = 3
WIDE = 48, 64  # rows, columns of rooms
NYU_LINE = "{} {} 518.8579\n"


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


def views(count: int, size: tuple[int, int] = WIDE, seed: int = 0) -> list[View]:
    """Rooms, in order: of a larger count the first are the same."""
    return [rooms.room(seed, number, *size) for number in range(count)]


def holes(view: View) -> np.ndarray:
    """(H, W) bool: what a sensor does not see, a patch and single pixels."""
    height, width = view.depth_m.shape
    unseen = np.random.default_rng(view.rgb.sum()).random((height, width)) < 0.02
    unseen[height // 8 : height // 4, width // 2 : width * 5 // 8] = True
    return unseen


def steps(view: View, per_metre: float = 1000) -> np.ndarray:
    """(H, W) uint16: depth in whole steps with a sensor's holes, 0."""
    return np.where(holes(view), 0, np.rint(view.depth_m * per_metre)).astype(np.uint16)


def nyu(
    folder: Path, train: int = 4, test: int = 2, size: tuple[int, int] = WIDE, seed: int = 0, per_metre: float = 1000
) -> Path:
    """NYU Depth V2 by lists, rooms in order, those for testing last: SCENE/rgb_00045.jpg, sync_depth_00045.png."""
    lists: dict[str, str] = {"train": "", "test": ""}
    for number, view in enumerate(views(train + test, size, seed)):
        split, inside = ("train", "sync") if number < train else ("test", "official_splits/test")
        names = f"scene_{number // 2:04}/rgb_{number:05}.jpg", f"scene_{number // 2:04}/sync_depth_{number:05}.png"
        picture(folder / inside / names[0], view.rgb)
        picture(folder / inside / names[1], steps(view, per_metre))
        slash = "/" if split == "train" else ""
        lists[split] += NYU_LINE.format(*(slash + name for name in names))
    for split, text in lists.items():
        (folder / f"nyudepthv2_{split}_files_with_gt.txt").write_text(text)
    return folder


def bits_rotated(mm: np.ndarray) -> np.ndarray:
    """As SUN RGB-D stores millimetres."""
    return (mm << 3) | (mm >> 13)


SUN_SCENES = ("kv1/NYUdata/NYU0001", "kv2/kinect2data/000065_2014-05-16_20-14-38", "realsense/sa/2014_10_21-18_16_32-1")


def sunrgbd(folder: Path, count: int = 3, size: tuple[int, int] = WIDE, seed: int = 0, official: bool = True) -> Path:
    """As published: a folder for each sample, the first for testing; `depth_bfx` without holes."""
    named = []
    for number, view in enumerate(views(count, size, seed)):
        first = SUN_SCENES[number % len(SUN_SCENES)]
        scene = first if number < len(SUN_SCENES) else f"{first}_{number}"
        picture(folder / scene / "image" / f"{number:07}.jpg", view.rgb)
        picture(folder / scene / "depth" / f"{number:07}_abs.png", bits_rotated(steps(view)))
        filled = np.rint(view.depth_m * 1000).astype(np.uint16)
        picture(folder / scene / "depth_bfx" / f"{number:07}_abs.png", bits_rotated(filled))
        counted_from_1 = view.intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        (folder / scene / "intrinsics.txt").write_text(" ".join(map(str, counted_from_1.ravel())) + " \n")
        (folder / scene / "scene.txt").write_text("office")
        named.append(f"/n/fs/sun3d/data/SUNRGBD/{scene}/")
    if official:
        cells = {"alltest": named[:1], "alltrain": named[1:]}
        content = {name: np.array(paths, object).reshape(1, -1) for name, paths in cells.items()}
        path = folder / "SUNRGBDtoolbox" / "traintestSUNRGBD" / "allsplit.mat"
        path.parent.mkdir(parents=True)
        pytest.importorskip("scipy.io").savemat(
            path, {name: np.array(paths, object).reshape(1, -1) for name, paths in cells.items()}
        )
    return folder


def sunrgbd_decoded(folder: Path, count: int = 3, rotated: bool = False) -> Path:
    """`rgb/rgb` and `gt/gt`, plain millimetres; rotated: as a mistaken copy has them."""
    for number, view in enumerate(views(count)):
        picture(folder / "rgb/rgb" / f"img-{number:06}.jpg", view.rgb)
        stored = bits_rotated(steps(view)) if rotated else steps(view)
        picture(folder / "gt/gt" / f"img-{number:06}.png", stored)
    return folder
