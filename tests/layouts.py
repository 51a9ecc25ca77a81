"""Small sets in the layouts of benchmarks, as their authors publish them."""

import io
import json
from itertools import pairwise
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
    for split, text in filter(lambda one: one[1], lists.items()):
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
        pytest.importorskip("scipy.io").savemat(path, content)
    return folder


def sunrgbd_decoded(folder: Path, count: int = 3, rotated: bool = False) -> Path:
    """`rgb/rgb` and `gt/gt`, plain millimetres; rotated: as a mistaken copy has them."""
    for number, view in enumerate(views(count)):
        picture(folder / "rgb/rgb" / f"img-{number:06}.jpg", view.rgb)
        stored = bits_rotated(steps(view)) if rotated else steps(view)
        picture(folder / "gt/gt" / f"img-{number:06}.png", stored)
    return folder


IBIMS_STEP_M = 50 / 65535
IBIMS_PLANES = {"wall": range(rooms.WALLS, rooms.WALLS + 4), "table": (), "floor": (rooms.FLOOR,)}


def ibims_masks(view: View) -> tuple[np.ndarray, np.ndarray]:
    """mask_invalid and mask_transp, (H, W) bool: True where depth holds."""
    opaque = np.ones(view.depth_m.shape, bool)
    opaque[-6:, :9] = False
    return ~holes(view), opaque


def ibims_edges(view: View) -> np.ndarray:
    """(H, W) bool: where one surface ends and a nearer one begins."""
    nearest = cv2.erode(view.depth_m.astype(np.float32), np.ones((3, 3)))
    return view.depth_m - nearest > 0.3


def ibims_planes(view: View) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name a mask with the numbers of planes, and their rows: normal and distance, and again the normal; axes right,
    forwards, up."""
    planes = {}
    for name, surfaces in IBIMS_PLANES.items():
        seen = [surface for surface in surfaces if (view.surface == surface).any()]
        mask = sum(((view.surface == one) * (n + 1) for n, one in enumerate(seen)), np.zeros(view.surface.shape, int))
        normals = [view.planes[one][[0, 2, 1, 3]] for one in seen]
        rows = np.array([[*normal, *normal[:3]] for normal in normals]).reshape(len(seen), 7 if seen else 0)
        planes[name] = mask.astype(np.uint8), rows
    return planes


def ibims(folder: Path, count: int = 2, kind: str = "mat", per_metre: float = 1) -> Path:
    """`ibims1_core_mat` or `ibims1_core_raw`, as `kind` says."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"room_{number:02}" for number in range(count)]
    (folder / "imagelist.txt").write_text("".join(f"{name}\n" for name in names))
    core = folder / f"ibims1_core_{kind}"
    core.mkdir()
    for name, view in zip(names, views(count), strict=True):
        valid, opaque = ibims_masks(view)
        metres = np.where(valid, view.depth_m, 0) * per_metre
        counted_from_1 = view.intrinsics + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        if kind == "raw":
            picture(core / "rgb" / f"{name}.png", view.rgb)
            picture(core / "depth" / f"{name}.png", np.rint(metres / IBIMS_STEP_M).astype(np.uint16))
            for inside, mask in (("mask_invalid", valid), ("mask_transp", opaque)):
                (core / inside).mkdir(exist_ok=True)
                assert cv2.imwrite(
                    str(core / inside / f"{name}.png"), mask * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, 1]
                )
            (core / "calib").mkdir(exist_ok=True)
            fx, fy, cx, cy = (counted_from_1[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
            (core / "calib" / f"{name}.txt").write_text(f"{fx},{fy},{cx},{cy}")
            continue
        data = {"rgb": view.rgb, "depth": metres, "edges": ibims_edges(view).astype(np.uint8)}
        data |= {
            "calib": counted_from_1.T,
            "mask_invalid": valid.astype(np.uint8),
            "mask_transp": opaque.astype(np.uint8),
        }
        for plane, (mask, rows) in ibims_planes(view).items():
            data |= {f"mask_{plane}": mask, f"mask_{plane}_paras": rows}
        pytest.importorskip("scipy.io").savemat(core / f"{name}.mat", {"data": data}, do_compression=True)
    return folder


DA2K_SCENES = ("indoor", "adverse_style", "underwater")


def da2k(folder: Path, count: int = 3) -> Path:
    """Rooms as pictures of several scene types, with pairs of points whose order is true."""
    annotations = {}
    for number, view in enumerate(views(count)):
        name = f"images/{DA2K_SCENES[number % 3]}/picture_{number}.jpg"
        picture(folder / name, view.rgb)
        points = [(5, 7), (40, 50), (24, 3), (47, 63)]
        pairs = [sorted(pair, key=lambda at: float(view.depth_m[at])) for pair in pairwise(points)]
        annotations[name] = [{"point1": p, "point2": q, "closer_point": "point1"} for p, q in pairs]
        annotations[name][-1] = {"point1": pairs[-1][1], "point2": pairs[-1][0], "closer_point": "point2"}
    (folder / "annotations.json").write_text(json.dumps(annotations))
    return folder


def hypersim_view(number: int, size: tuple[int, int] = WIDE) -> View:
    """A room as Hypersim's camera sees it."""
    height, width = size
    return rooms.room(0, number, height, width, rooms.camera(height, width, 886.81 * width / 1024))


def hypersim(folder: Path, count: int = 3, official: bool = True) -> Path:
    """One frame of each scene; distances along the ray, NaN for none."""
    h5py = pytest.importorskip("h5py")
    lines = ["scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name"]
    for number in range(count):
        view, scene = hypersim_view(number), f"ai_{number + 1:03}_001"
        images = folder / scene / "images"
        picture(images / "scene_cam_00_final_preview" / "frame.0007.tonemap.jpg", view.rgb)
        (images / "scene_cam_00_geometry_hdf5").mkdir()
        distance = np.where(holes(view), np.nan, view.ray_m).astype(np.float16)
        with h5py.File(images / "scene_cam_00_geometry_hdf5" / "frame.0007.depth_meters.hdf5", "w") as file:
            file.create_dataset("dataset", data=distance, compression="gzip")
        split = ("train", "val", "test")[number % 3]
        lines.append(f"{scene},cam_00,7,{number < 3},,{split}")
    if official:
        (folder / "metadata_images_split_scene_v1.csv").write_text("\n".join(lines) + "\n")
    return folder


STREET = 48, 160  # rows, columns


def vkitti2(folder: Path, count: int = 2, apart: bool = False) -> Path:
    """Frames of two cameras; apart: in folders of their own, as they are downloaded."""
    cameras = "frame cameraID K[0,0] K[1,1] K[0,2] K[1,2]\n"
    rgb, depth, text = (f"vkitti_2.0.3_{kind}/" if apart else "" for kind in ("rgb", "depth", "textgt"))
    for number in range(count):
        for camera in (0, 1):
            view = rooms.street(camera, number, *STREET)
            inside = f"frames/{{}}/Camera_{camera}/{{}}_{number:05}"
            picture(folder / rgb / "Scene01/clone" / (inside.format("rgb", "rgb") + ".jpg"), view.rgb)
            picture(folder / depth / "Scene01/clone" / (inside.format("depth", "depth") + ".png"), vkitti2_steps(view))
            fx, fy, cx, cy = (view.intrinsics[place] for place in ((0, 0), (1, 1), (0, 2), (1, 2)))
            cameras += f"{number} {camera} {fx} {fy} {cx - 0.5} {cy - 0.5}\n"
    (folder / text / "Scene01/clone").mkdir(parents=True, exist_ok=True)
    (folder / text / "Scene01/clone/intrinsic.txt").write_text(cameras)
    return folder


def vkitti2_steps(view: View) -> np.ndarray:
    """Centimetres, the largest step for the sky."""
    return np.where(np.isinf(view.depth_m), 65535, np.rint(np.minimum(view.depth_m, 655) * 100)).astype(np.uint16)


KITTI_DAY, KITTI_DRIVE = "2011_09_26", "2011_09_26_drive_0057_sync"


def kitti_steps(view: View) -> np.ndarray:
    """256 steps a metre, 0 where no beam of the laser met anything."""
    met = np.random.default_rng(view.rgb.sum()).random(view.depth_m.shape) < 0.2
    met[: met.shape[0] // 3] = False
    return np.where(met & (view.depth_m < 85), np.rint(view.depth_m * 256), 0).astype(np.uint16)


def kitti(folder: Path, train: int = 2, test: int = 2, size: tuple[int, int] = STREET, calibrated: bool = True) -> Path:
    """Frames by lists, those for testing last, of which the last has no truth."""
    lists: dict[str, str] = {"train": "", "test": ""}
    for number in range(train + test):
        split = "train" if number < train else "test"
        view = rooms.street(0, number, *size)
        rgb = f"{KITTI_DAY}/{KITTI_DRIVE}/image_02/data/{number:010}.png"
        depth = f"{KITTI_DRIVE}/proj_depth/groundtruth/image_02/{number:010}.png"
        picture(folder / "raw" / rgb, view.rgb)
        (fx, _, cx), (_, fy, cy), _ = view.intrinsics
        if number == train + test - 1 and test:
            depth = "None"
        else:
            picture(folder / "gts" / depth, kitti_steps(view))
        lists[split] += f"{rgb} {depth} {fx:.4f}\n"
        if calibrated:
            row = f"{fx} 0 {cx - 0.5} 44.8 0 {fy} {cy - 0.5} 0.2 0 0 1 0.003"
            text = f"calib_time: 09-Jan-2012 13:57:47\nP_rect_00: {' '.join('0' * 12)}\nP_rect_02: {row}\n"
            (folder / "raw" / KITTI_DAY / "calib_cam_to_cam.txt").write_text(text)
    for split, text in filter(lambda one: one[1], lists.items()):
        (folder / f"kitti_eigen_{split}_files_with_gt.txt").write_text(text)
    return folder
