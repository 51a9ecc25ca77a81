"""Hypersim (Roberts et al., ICCV 2021): rendered rooms of 768 x 1024. Depth is converted here.

    ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg
    ai_001_001/images/scene_cam_00_geometry_hdf5/frame.0000.depth_meters.hdf5

`depth_meters` is float16 in an array `dataset`: the distance along each pixel's ray, NaN where there is none. Depth
along the optical axis, which david has everywhere, is `distance * f / |(x, y, f)|` with f = 886.81 pixels at a width of
1024 and (x, y) from the image's centre to the pixel's. (A few scenes have a tilted lens, which
`metadata_camera_parameters.csv` tells of; like those who train on Hypersim this takes the one camera for all.)

Whether depth was converted before can't be seen in it: a distance is a plausible depth. So files that are not named
as published are not guessed to be.

Splits are those of the official `metadata_images_split_scene_v1.csv`, here or in `evermotion_dataset/analysis`; what it
leaves out of the public release is left out. Without it every twentieth scene, by a hash of its name, is `val`.
"""

import csv
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, matlab, picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, SPLIT_NAME, Field, Fields
from david.pack.sources import listing, metres
from david.pack.sources.source import Raw, Source

FOCAL, WIDTH = 886.81, 1024  # pixels
SPLITS = "metadata_images_split_scene_v1.csv"
SPLITS_IN = ("", "evermotion_dataset/analysis", "analysis")
VAL_EVERY = 20  # scenes
_COLUMNS = ("scene_name", "camera_name", "frame_id", "included_in_public_release", "split_partition_name")
_FILE = re.compile(
    r"(?:.*/)?(ai_[0-9]{3}_[0-9]{3})/images/scene_(cam_[0-9]{2})_"
    r"(final_preview/frame\.([0-9]{4})\.tonemap\.jpg|geometry_hdf5/frame\.([0-9]{4})\.depth_meters\.hdf5)"
)


@dataclass(frozen=True)
class Hypersim(Source):
    """splits: the official CSV, by default where it usually is"""

    name = "hypersim"
    checks = (PlausibleDepth((0.5, 30.0), (0.2, 60.0), "NaN", smooth=False),)

    splits: Path | None = None

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return any(raw.glob("ai_[0-9][0-9][0-9]_[0-9][0-9][0-9]/images"))

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        raw = metres.folder(raw, self.name, "ai_001_001/images and so on")
        usual = next((raw / inside / SPLITS for inside in SPLITS_IN if (raw / inside / SPLITS).is_file()), None)
        path = self.splits or usual
        splits = _official(path) if path else None
        frames: dict[tuple[str, str, str], dict[str, Member]] = defaultdict(dict)
        for member in archive.members(raw):
            if match := _FILE.fullmatch(member.name):
                scene, camera, _, rgb, depth = match.groups()
                frames[scene, camera, rgb or depth]["rgb" if rgb else "depth"] = member
        if not frames:
            such = "ai_001_001/images/scene_cam_00_final_preview/frame.0000.tonemap.jpg"
            raise DavidError(f"{raw}: no frame there, such as {such}")
        found: Found = {}
        faults: dict[str, BadSample] = {}
        for (scene, camera, frame), members in sorted(frames.items()):
            key = f"{scene}-{camera}-{frame}"
            split = _split(scene) if splits is None else splits.get((scene, camera, frame))
            there = next(iter(members.values()))
            if splits is not None and (scene, camera, frame) not in splits:
                faults[key] = BadSample(there.where, f"is not listed in {path}")
            elif split == "":
                continue
            elif len(members) < 2:
                faults[key] = BadSample(there.where, f"has no {'depth' if 'rgb' in members else 'rgb'} beside it")
            else:
                found[key] = Entry(members, split)
        return metres.whole(found, faults, bad)

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "f16-affine"))

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb = picture.rgb(entry.members["rgb"], data["rgb"], max_pixels)
        where = entry.members["depth"].where
        distance = matlab.array(where, data["depth"], "dataset", max_pixels)
        if distance.ndim != 2 or distance.dtype.kind != "f":
            raise BadSample(where, f"expected floats of (H, W), found {distance.dtype} of shape {distance.shape}")
        height, width = distance.shape
        if height * 4 != width * 3:
            raise BadSample(where, f"{height} rows x {width} columns, expected 768 x 1024 or of its shape: it was cut")
        known = np.isfinite(distance) & (distance > 0)
        depth = np.where(known, distance, 0).astype(np.float64) * along_axis(height, width)
        focal = FOCAL * width / WIDTH
        camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return metres.sample(key, entry, data, rgb, depth, known, intrinsics=camera)


def along_axis(height: int, width: int) -> np.ndarray:
    """(H, W) float64: of a distance along each pixel's ray the share that lies along the optical axis."""
    focal = FOCAL * width / WIDTH
    x, y = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
    return focal / np.sqrt(x[None] ** 2 + y[:, None] ** 2 + focal**2)


def _split(scene: str) -> str:
    return "train" if int.from_bytes(blake2b(scene.encode(), digest_size=8).digest()) % VAL_EVERY else "val"


def _official(path: Path) -> dict[tuple[str, str, str], str]:
    """(scene, camera, frame) -> its split, "" where it is not in the public release. Raises DavidError where it is no
    such table."""
    reader = csv.DictReader(io.StringIO(listing.read_text(path), newline=""))
    lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise DavidError(f"{path}: has no column {lacking[0]}; expected {SPLITS} of Hypersim")
    splits = {}
    for row in reader:
        public = (row["included_in_public_release"] or "").strip().lower() == "true"
        frame = (row["frame_id"] or "").strip().zfill(4)
        split = (row["split_partition_name"] or "").strip() if public else ""
        if public and not SPLIT_NAME.fullmatch(split):
            raise DavidError(f"{path}, line {reader.line_num}: the split is `{split[:40]}`, expected a-z, 0-9 and _")
        splits[row["scene_name"], row["camera_name"], frame] = split
    return splits
