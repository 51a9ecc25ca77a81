"""SUN RGB-D (Song et al., CVPR 2015), 10,335 rooms of four sensors, as published or decoded. Units are converted here.

**As published**: folders `kv1`, `kv2`, `realsense` and `xtion` (in `SUNRGBD` or not), in which each sample's folder has
`image`, `depth` and `depth_bfx` (its holes filled) with one file each, and `intrinsics.txt`. Depth is 16-bit PNG whose
bits are rotated: `(d >> 3) | (d << 13)` are the millimetres. Splits are those of
`SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat`, where it is there or `--splits` says where; otherwise there are none.

**Decoded**, as depth estimators are tested on it: `rgb/rgb/NAME.jpg` and `gt/gt/NAME.png` in plain millimetres, all of
them test images, without cameras.

Both have 0 where nothing was seen. Beyond 8 m the sensors tell nothing: the toolbox cuts depth there, evaluation leaves
it out, and here it is unknown. Intrinsics count pixels from 1, as the toolbox does; ours have the corner at 0.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, matlab, picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import listing, metres, paired
from david.pack.sources.camera import HALF, intrinsics
from david.pack.sources.listing import Row
from david.pack.sources.paired import Layout, Place
from david.pack.sources.source import Raw, Source

SENSORS = ("kv1", "kv2", "realsense", "xtion")
SPLITS = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
DEPTHS = ("depth", "depth_bfx")
DECODED = Layout({"rgb": Place("rgb/rgb", (".jpg", ".jpeg", ".png")), "depth": Place("gt/gt", (".png",))})
_ANCHOR = "SUNRGBD/"  # what the official splits' paths are told apart by


@dataclass(frozen=True)
class SunRgbd(Source):
    """depth_kind: `depth` as the sensor saw it, with holes, or `depth_bfx`; splits: the file of the official split"""

    name = "sunrgbd"
    checks = (PlausibleDepth((0.8, 6.0), (0.4, 8.0), "0", deepest_m=8.0, unit="millimetres", smooth=False),)

    depth_kind: str = "depth"
    splits: Path | None = None

    def __post_init__(self) -> None:
        if self.depth_kind not in DEPTHS:
            raise DavidError(
                f"--depth-kind is `{self.depth_kind}`, but can only be {' or '.join(DEPTHS)} of --source sunrgbd"
            )

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return DECODED.fits(raw) or _root(raw) is not None

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        raw = metres.folder(raw, self.name, f"{', '.join(SENSORS)} in it, or rgb/rgb and gt/gt")
        if DECODED.fits(raw):
            if self.depth_kind != DEPTHS[0] or self.splits:
                option = "--splits" if self.splits else f"--depth-kind {self.depth_kind}"
                raise DavidError(f"{raw}: {option} is for SUN RGB-D as published; rgb/rgb, gt/gt have one depth")
            return paired.scan(raw, self.name, DECODED, "test", bad)
        root = _root(raw)
        if root is None:
            raise DavidError(f"{raw}: neither folders {', '.join(SENSORS)} there, nor rgb/rgb and gt/gt")
        found, faults = self._scenes(root, *self._official(raw, root))
        return metres.whole(found, faults, bad)

    def _official(self, raw: Path, root: Path) -> tuple[dict[str, str], Path | None]:
        """Split by scene folder, and the file that tells it."""
        usual = next((one / SPLITS for one in (raw, root, root.parent) if (one / SPLITS).is_file()), None)
        path = self.splits or usual
        return (_official(path), path) if path else ({}, None)

    def _scenes(self, root: Path, splits: dict[str, str], told_by: Path | None) -> tuple[Found, dict[str, BadSample]]:
        files: dict[str, dict[str, list[Member]]] = defaultdict(lambda: defaultdict(list))
        for sensor in (one for one in SENSORS if (root / one).is_dir()):
            for one in archive.members(root / sensor):
                *inside, folder, name = (sensor, *PurePosixPath(one.name).parts)
                here = one._replace(archive=root, name=f"{sensor}/{one.name}")
                if folder in ("image", self.depth_kind):
                    if picture.suffix(one) in picture.PICTURES and not name.startswith("."):
                        files["/".join(inside)]["rgb" if folder == "image" else "depth"].append(here)
                elif name == "intrinsics.txt":
                    files["/".join((*inside, folder))]["camera"].append(here)
        rows = [
            self._row(root, scene, kinds, splits, told_by)
            for scene, kinds in sorted(files.items())
            if kinds.keys() & {"rgb", "depth"}
        ]
        if not rows:
            raise DavidError(f"{root}: no sample there; each is a folder with image, {self.depth_kind}, intrinsics.txt")
        found: Found = {}
        faults: dict[str, BadSample] = {}
        for key, row in listing.keyed(rows):
            if isinstance(row, BadSample):
                faults[key] = row
            else:
                found[key] = Entry({kind: files[row.id or ""][kind][0] for kind in row.files}, row.split)
        return found, faults

    def _row(
        self, root: Path, scene: str, kinds: dict[str, list[Member]], splits: dict[str, str], told_by: Path | None
    ) -> Row | BadSample:
        for kind, folder in (("rgb", "image"), ("depth", self.depth_kind)):
            if len(kinds.get(kind, ())) != 1:
                return BadSample(
                    f"{root / scene}", f"{len(kinds.get(kind, ()))} pictures in its folder {folder}, expected one"
                )
        if told_by and scene not in splits:
            return BadSample(f"{root / scene}", f"is in no split of {told_by}")
        return Row(str(root / scene), {kind: one[0].name for kind, one in kinds.items()}, splits.get(scene), scene)

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "u16-linear"))

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        members = entry.members
        rgb = picture.rgb(members["rgb"], data["rgb"], max_pixels)
        stored = metres.steps(members["depth"], data["depth"], max_pixels)
        published = members["depth"].name.startswith(SENSORS)
        mm = metres.unrotated(stored) if published else stored
        _require_reading(members["depth"], stored, published)
        camera = None
        if "camera" in members:
            camera = intrinsics(members["camera"].where, data["camera"], *rgb.shape[:2]) - HALF
        known = (mm > 0) & (mm <= metres.FARTHEST_MM)
        return metres.sample(key, entry, data, rgb, mm, known, step_m=metres.MM, intrinsics=camera)


def _require_reading(member: Member, stored: np.ndarray, published: bool) -> None:
    """Raises BadSample where depth makes sense only if its bits are read the other way."""
    if seen := metres.misread(stored, published):
        raise BadSample(member.where, f"{seen}: it is not what its folder says")
    if not published and (seen := metres.turned(stored)):
        raise BadSample(member.where, f"{seen}; expected plain millimetres in gt/gt")


def _root(raw: Path) -> Path | None:
    """The folder with those of the sensors."""
    roots = (raw, raw / "SUNRGBD")
    return next((one for one in roots if any((one / sensor).is_dir() for sensor in SENSORS)), None)


def _official(path: Path) -> dict[str, str]:
    """Scene folder to `train` or `test`. Raises DavidError where the file is none."""
    content = matlab.load(path)
    try:
        both = {split: list(_paths(content[f"all{split}"].ravel())) for split in ("train", "test")}
    except (KeyError, AttributeError, TypeError, IndexError, ValueError) as error:
        raise DavidError(f"{path}: no split of SUN RGB-D ({type(error).__name__}: {error})") from error
    if twice := sorted(set(both["train"]) & set(both["test"])):
        raise DavidError(f"{path}: has {len(twice)} scenes to train on and to test on, the first {twice[0]}")
    return {scene: split for split, scenes in both.items() for scene in scenes}


def _paths(cells: Iterable[object]) -> Iterable[str]:
    """Below the folder SUNRGBD, of cells that each hold one path."""
    for cell in cells:
        path = str(cell)
        if _ANCHOR not in path:
            raise ValueError(f"`{path[:80]}` has no folder SUNRGBD in it")
        yield path.partition(_ANCHOR)[2].strip("/")
