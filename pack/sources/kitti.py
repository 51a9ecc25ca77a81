"""KITTI by the lists of Eigen et al. (NIPS 2014), with the denser depth that was published later (Uhrig et al., 3DV
2017), as BTS and those after it train: 23,158 for training and 697 for testing, of which 652 have truth. Units are
converted here.

    kitti_eigen_train_files_with_gt.txt   here or in `train_test_inputs`: rgb, depth or `None`, focal length a line
    kitti_eigen_test_files_with_gt.txt
    raw/2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0000000005.png       or without `raw`
    gts/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02/0000000005.png   or in `data_depth_annotated`, with
                                                                                 `train` and `val` in it or not
    raw/2011_09_26/calib_cam_to_cam.txt   where it is there: cameras

Depth is 16-bit PNG, 256 steps a metre, sparse: 0 where no beam of the laser met anything. `crop` `kb` keeps the lowest
352 rows and the middle 1216 columns, as these train and test; cameras move along. Theirs have a pixel's centre at whole
numbers; ours have the image's corner at 0.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.codings import MOST_STEPS
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import listing, metres
from david.pack.sources.camera import HALF, intrinsics
from david.pack.sources.listing import Row
from david.pack.sources.source import Raw, Source

LISTS = {"train": "kitti_eigen_train_files_with_gt.txt", "test": "kitti_eigen_test_files_with_gt.txt"}
PLACES = {
    "rgb": ("raw", "raw_data", "rawdata", ""),
    "depth": ("gts", *(f"data_depth_annotated{one}" for one in ("", "/train", "/val")), "train", "val", ""),
}
STEP_M = 1 / 256
CROPS = {"none": None, "kb": (352, 1216)}  # rows, columns
CALIBRATION = "calib_cam_to_cam.txt"
_FRAME = re.compile(r"([^/]+)/image_(0[0-3])/data/([0-9]+)\.[a-z]+$")
_CALIBRATION_BYTES = 1 << 16
_NEAR_PX = 1.0  # by which a list's focal length may differ from the camera's


@dataclass(frozen=True)
class Kitti(Source):
    """train_list, test_list: other files than those above; where one of them is given, the other split is left out
    unless it is given too; crop: `none`, or `kb`, which those who compare on KITTI train and test on"""

    name = "kitti"
    checks = (PlausibleDepth((4.0, 40.0), (2.0, 60.0), "0", deepest_m=120.0, unit="256ths of a metre", smooth=False),)

    train_list: Path | None = None
    test_list: Path | None = None
    crop: str = "none"

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise DavidError(f"--crop is `{self.crop}`, but can only be {' or '.join(CROPS)}")

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return metres.begins(raw, metres.lists(raw, LISTS, {}), dict.fromkeys(LISTS, PLACES))

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        told = {"train": self.train_list, "test": self.test_list}
        raw, lists = metres.by_lists(raw, self.name, LISTS, told)
        rows = (_named(row) for split, path in lists.items() for row in listing.lines(path, split))
        found = metres.listed(raw, rows, dict.fromkeys(lists, PLACES), bad)
        cameras: dict[str, Member | None] = {}
        for key, entry in found.items():
            day = f"{entry.members['rgb'].name.rpartition('_sync/')[0].rpartition('/')[0]}/{CALIBRATION}"
            if day not in cameras:
                cameras[day] = metres.member(raw, day)
            if (camera := cameras[day]) is not None:
                found[key] = entry._replace(members=entry.members | {"camera": camera})
        return found

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "u16-linear"))

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb = picture.rgb(entry.members["rgb"], data["rgb"], max_pixels)
        camera = self._camera(entry, data, *rgb.shape[:2])
        stored = None
        if "depth" in data:
            stored = metres.steps(entry.members["depth"], data["depth"], max_pixels)
            metres.require_size(entry, "depth", stored, rgb)
        window, left, top = self._window(entry, *rgb.shape[:2])
        rgb = np.ascontiguousarray(rgb[window])
        if camera is not None:
            camera = camera - np.array([[0, 0, left], [0, 0, top], [0, 0, 0]])
        if stored is None:
            return metres.sample(key, entry, data, rgb, None, intrinsics=camera, focal_px=float(entry.told))
        stored = stored[window]
        known = (stored > 0) & (stored <= MOST_STEPS)
        return metres.sample(
            key, entry, data, rgb, stored, known, step_m=STEP_M, intrinsics=camera, focal_px=float(entry.told)
        )

    def _window(self, entry: Entry, height: int, width: int) -> tuple[tuple[slice, slice], int, int]:
        """The rows and columns that are kept, and how many columns and rows are cut off left and above."""
        size = CROPS[self.crop]
        if size is None:
            return (slice(None), slice(None)), 0, 0
        if height < size[0] or width < size[1]:
            raise BadSample(
                entry.members["rgb"].where,
                f"{height} rows x {width} columns, less than --crop {self.crop} keeps, {size[0]} x {size[1]}",
            )
        top, left = height - size[0], (width - size[1]) // 2
        return (slice(top, top + size[0]), slice(left, left + size[1])), left, top

    def _camera(self, entry: Entry, data: dict[str, bytes], height: int, width: int) -> np.ndarray | None:
        """(3, 3), of the whole image. Raises BadSample where the list tells of another focal length."""
        where = entry.members["rgb"].where
        try:
            focal = float(entry.told)
        except ValueError as error:
            raise BadSample(where, f"its list tells a focal length of `{entry.told[:40]}`") from error
        if "camera" not in data:
            return None
        frame = _FRAME.search(entry.members["rgb"].name)
        name = f"P_rect_{frame[2] if frame else '02'}:"
        lines = data["camera"][:_CALIBRATION_BYTES].decode("ascii", "replace").splitlines()
        numbers = next((line.split()[1:] for line in lines if line.startswith(name)), [])
        if len(numbers) != 12:
            raise BadSample(entry.members["camera"].where, f"has no line {name} of twelve numbers")
        rows = " ".join(numbers[place] for place in (0, 1, 2, 4, 5, 6, 8, 9, 10))
        camera = intrinsics(entry.members["camera"].where, rows.encode(), height, width)
        if not abs(camera[0, 0] - focal) <= _NEAR_PX:
            raise BadSample(
                where, f"its list tells a focal length of {focal:g} pixels, its camera has {camera[0, 0]:.4f}"
            )
        return camera + HALF


def _named(row: Row | BadSample) -> Row | BadSample:
    """With an id of drive, camera and frame, where the path tells them."""
    match = _FRAME.search(row.files["rgb"]) if isinstance(row, Row) else None
    return row._replace(id="-".join(match.groups())) if match and isinstance(row, Row) else row
