"""Virtual KITTI 2 (Cabon et al., 2020): five drives through Karlsruhe, rendered in ten weathers and angles by two
cameras. Units are converted here.

    Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg       375 x 1242
    Scene01/clone/frames/depth/Camera_0/depth_00000.png   16 bits, centimetres
    Scene01/clone/intrinsic.txt                           a line a frame and camera: frame, camera, fx, fy, cx, cy

The three may lie in folders of their own (`vkitti_2.0.3_rgb` and so on), as they are downloaded. Beyond 80 m depth is
taken as unknown, as those do who train on it; the largest step, 655.35 m, is sky. Their cameras have a pixel's centre
at whole numbers; ours have the image's corner at 0.

There are no splits. Every twentieth stretch of 50 frames, by a hash of scene and stretch, is `val`, in all weathers and
of both cameras, so that nothing is trained on that is measured on.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.codings import MOST_STEPS
from david.pack.shards.sample import Sample
from david.pack.shards.schema import CM, RGB, Field, Fields
from david.pack.sources import listing, metres
from david.pack.sources.camera import HALF, intrinsics
from david.pack.sources.source import Raw, Source

FARTHEST_CM = 8000
SCENES = ("Scene01", "Scene02", "Scene06", "Scene18", "Scene20")
INSIDE = ("", "vkitti_2.0.3_rgb", "rgb")  # where they may lie
STRETCH, VAL_EVERY = 50, 20  # frames, and stretches of them
_FILE = re.compile(
    r"(?:.*/)?(Scene[0-9]{2})/([^/]+)/frames/(?:(rgb)/Camera_([01])/rgb|(depth)/Camera_([01])/depth)_([0-9]{5})"
    r"\.(?:jpg|png)"
)
_CAMERAS = re.compile(r"(?:.*/)?(Scene[0-9]{2})/([^/]+)/intrinsic\.txt")


@dataclass(frozen=True)
class Vkitti2(Source):
    """Without options."""

    name = "vkitti2"
    checks = (PlausibleDepth((4.0, 60.0), (2.0, 80.0), "0", unit="cm", smooth=False),)

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return any((raw / inside / scene / "clone").is_dir() for inside in INSIDE for scene in SCENES)

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        raw = metres.folder(raw, self.name, "Scene01/clone/frames and so on")
        frames: dict[tuple[str, str, str, str], dict[str, Member]] = defaultdict(dict)
        cameras: dict[tuple[str, str, str, str], str] = {}
        for member in archive.members(raw):
            if match := _FILE.fullmatch(member.name):
                scene, kind, rgb, of_rgb, depth, of_depth, frame = match.groups()
                frames[scene, kind, of_rgb or of_depth, frame][rgb or depth] = member
            elif match := _CAMERAS.fullmatch(member.name):
                scene, kind = match.groups()
                for (camera, frame), numbers in _cameras(raw / member.name).items():
                    cameras[scene, kind, camera, frame] = numbers
        if not frames:
            raise DavidError(f"{raw}: no frame there, such as Scene01/clone/frames/rgb/Camera_0/rgb_00000.jpg")
        found: Found = {}
        faults: dict[str, BadSample] = {}
        for place, members in sorted(frames.items()):
            scene, kind, camera, frame = place
            key = f"{scene}-{re.sub('[^A-Za-z0-9_-]', '_', kind)}-{camera}-{frame}"
            if len(members) < 2:
                there, lacks = next(iter(members.values())), "depth" if "rgb" in members else "rgb"
                faults[key] = BadSample(there.where, f"has no {lacks} beside it")
            else:
                found[key] = Entry(members, _split(scene, frame), cameras.get(place, ""))
        return metres.whole(found, faults, bad)

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "u16-linear"))

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb = picture.rgb(entry.members["rgb"], data["rgb"], max_pixels)
        stored = metres.steps(entry.members["depth"], data["depth"], max_pixels)
        known, sky = (stored > 0) & (stored <= FARTHEST_CM), stored > MOST_STEPS
        depth = np.where(sky, np.float32(np.inf), stored.astype(np.float32))
        camera = None
        if entry.told:
            camera = intrinsics(f"intrinsic.txt of {key}", entry.told.encode(), *rgb.shape[:2]) + HALF
        return metres.sample(key, entry, data, rgb, depth, known, step_m=CM, intrinsics=camera)


def _split(scene: str, frame: str) -> str:
    stretch = f"{scene}:{int(frame) // STRETCH}"
    return "train" if int.from_bytes(blake2b(stretch.encode(), digest_size=8).digest()) % VAL_EVERY else "val"


def _cameras(path: Path) -> dict[tuple[str, str], str]:
    """(camera, frame of five digits) -> fx fy cx cy. Raises DavidError where it is no such table."""
    cameras = {}
    for number, line in enumerate(listing.read_text(path).splitlines()[1:], start=2):
        words = line.split()
        if not words:
            continue
        if len(words) != 6 or not (words[0].isdecimal() and words[1].isdecimal()):
            raise DavidError(f"{path}, line {number}: expected frame, camera, fx, fy, cx, cy, found `{line[:80]}`")
        cameras[words[1], words[0].zfill(5)] = " ".join(words[2:])
    return cameras
