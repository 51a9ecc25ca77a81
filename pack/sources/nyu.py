"""NYU Depth V2 by lists, as those train on it who followed BTS and AdaBins: `rgb depth focal` a line, 24,231 for
training and the labelled set's 654 for testing. Units are converted here.

    nyudepthv2_train_files_with_gt.txt   here or in `train_test_inputs`; names begin with a slash
    nyudepthv2_test_files_with_gt.txt
    sync/SCENE/rgb_00045.jpg             and sync_depth_00045.png beside it; training, or without `sync`
    official_splits/test/SCENE/...       likewise; testing, or without these folders

Depth is 16-bit PNG in millimetres, 0 where the sensor saw nothing; that of the test files has the sensor's holes.
Outside rows 7:474 and columns 7:632 undistorting left no picture (the test files are black there), so depth counts as
unknown: evaluation crops to rows 45:471 and columns 41:601 anyway.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample
from david.pack.raw import picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import listing, metres
from david.pack.sources.nyu_labeled import INTRINSICS
from david.pack.sources.source import Raw, Source

LISTS = {"train": "nyudepthv2_train_files_with_gt.txt", "test": "nyudepthv2_test_files_with_gt.txt"}
_PLACES = {
    "train": dict.fromkeys(("rgb", "depth"), ("sync", "")),
    "test": dict.fromkeys(("rgb", "depth"), ("official_splits/test", "")),
}
SIZE = 480, 640
SEEN = slice(7, 474), slice(7, 632)  # rows and columns that hold a picture
SENSOR = PlausibleDepth((1.0, 6.0), (0.5, 8.0), "0", deepest_m=10.0, unit="millimetres", smooth=False)
_NEAR_PX = 1.0  # by which a list's focal length may differ from the camera's


@dataclass(frozen=True)
class Nyu(Source):
    """train_list, test_list: other files than those above; where one of them is given, the other split is left out
    unless it is given too"""

    name = "nyu"
    checks = (SENSOR,)

    train_list: Path | None = None
    test_list: Path | None = None

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return metres.begins(raw, metres.lists(raw, LISTS, {}), _PLACES)

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        told = {"train": self.train_list, "test": self.test_list}
        raw, found = metres.by_lists(raw, self.name, LISTS, told)
        rows = (row for split, path in found.items() for row in listing.lines(path, split))
        return metres.listed(raw, rows, _PLACES, bad)

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "u16-linear"))

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb = picture.rgb(entry.members["rgb"], data["rgb"], max_pixels)
        _require_focal(entry)
        if "depth" not in data:
            return metres.sample(key, entry, data, rgb, None)
        stored = metres.steps(entry.members["depth"], data["depth"], max_pixels)
        known = (stored > 0) & (stored < np.iinfo(np.uint16).max)
        if stored.shape == SIZE:
            seen = np.zeros(SIZE, bool)
            seen[SEEN] = True
            known &= seen
        camera = INTRINSICS if stored.shape == SIZE else None
        return metres.sample(key, entry, data, rgb, stored, known, step_m=metres.MM, intrinsics=camera)


def _require_focal(entry: Entry) -> None:
    """Raises BadSample where the list tells another focal length than NYU's camera has: it is another set's."""
    try:
        apart = abs(float(entry.told) - INTRINSICS[0, 0])
    except ValueError:
        apart = np.inf
    if not apart <= _NEAR_PX:
        raise BadSample(
            entry.members["rgb"].where,
            f"its list tells a focal length of {entry.told[:40]} pixels, expected {INTRINSICS[0, 0]:.4f}, that of "
            "NYU Depth V2's camera",
        )
