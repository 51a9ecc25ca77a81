"""NYU Depth V2's labelled part, `nyu_depth_v2_labeled.mat`: 1,449 rooms of 480 x 640, as Silberman and others publish
it. Units and axes are converted here.

An HDF5 file (MATLAB 7.3) whose arrays lie transposed: `images` (N, 3, 640, 480) uint8, `depths` (N, 640, 480) float32
metres with holes filled in, and `rawDepths` likewise, 0 in the sensor's holes. `splits.mat` beside it holds the
official split, `trainNdxs` and `testNdxs`, counted from 1; it is a MATLAB file from before HDF5.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from david.pack.check.conventions import PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, matlab
from david.pack.raw.archive import MAX_PIXELS, Changed, Entry, Found, Member
from david.pack.raw.zip_faults import STORED
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources.source import Raw, Source

FILE, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
_HDF5 = b"\x89HDF\r\n\x1a\n"
DEPTHS = {"raw": "rawDepths", "filled": "depths"}
# of the toolbox's camera_params.m, for the pixels of 480 x 640; it counts from 1, so that 0.5 is the image's corner
INTRINSICS = np.array([[518.85790117, 0, 325.58244941 - 0.5], [0, 519.46961112, 253.73616633 - 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class NyuLabeled(Source):
    """splits: the file of the official split, by default `splits.mat` beside the data; depth_kind: `raw` as the sensor
    saw it, with holes, or `filled`"""

    name = "nyu_labeled"
    checks = (PlausibleDepth((0.5, 15.0), (0.3, 20.0), invalid="0", smooth=False),)

    splits: Path | None = None
    depth_kind: str = "raw"

    def __post_init__(self) -> None:
        if self.depth_kind not in DEPTHS:
            raise DavidError(f"--depth-kind is `{self.depth_kind}`, but can only be {' or '.join(DEPTHS)}")

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return (raw / FILE).is_file() or (raw.is_file() and raw.suffix == ".mat")

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        path = raw / FILE if isinstance(raw, Path) and raw.is_dir() else raw
        if not isinstance(path, Path) or not path.is_file():
            raise DavidError(f"{raw}: no {FILE} there")
        kinds = {"rgb": "images", "depth": DEPTHS[self.depth_kind]}
        count, area = _sizes(path, kinds["depth"])
        splits = _official(self.splits or path.with_name(SPLITS), count)
        sizes = {"rgb": 3 * area, "depth": 4 * area}
        return {
            f"{number:04}": Entry(
                {
                    kind: Member(path, f"{name}/{number - 1}", sizes[kind], None, None, sizes[kind], STORED)
                    for kind, name in kinds.items()
                },
                splits[number],
            )
            for number in range(1, count + 1)
        }

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("depth", "f16-affine"))

    def crc32(self, member: Member) -> int:
        return crc32(_array(member).tobytes())

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        data = {}
        for kind, member in entry.members.items():
            array, file = _array(member), io.BytesIO()
            if member.crc not in (None, crc32(array.tobytes())):
                raise Changed(f"{member.where}: changed while it was being packed; start over with --restart")
            np.save(file, array, allow_pickle=False)
            data[kind] = file.getvalue()
        return data

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb, depth = (np.load(io.BytesIO(data[kind]), allow_pickle=False) for kind in ("rgb", "depth"))
        rgb, depth = np.ascontiguousarray(rgb.T), np.ascontiguousarray(depth.T, np.float32)
        try:
            archive.require_pixels(depth.shape[0], depth.shape[1], max_pixels)
        except ValueError as error:
            raise BadSample(entry.members["rgb"].where, str(error)) from error
        known = depth != 0
        told = {member.name: member.crc for member in entry.members.values()}
        return Sample(
            key=key,
            rgb=rgb,
            values={"depth": np.where(known, depth, np.float32(np.nan))},
            masks={"depth": known},
            intrinsics=INTRINSICS if depth.shape == (480, 640) else None,
            meta={"source": {"archive": entry.archive.name, "members": told}},
        )


@lru_cache(maxsize=2)
def _opened(path: Path) -> Any:
    """The file, open for the life of this process. Raises DavidError without h5py, OSError where it is none."""
    _require_hdf5(path)
    return matlab.hdf5(str(path), path)


def _require_hdf5(path: Path) -> None:
    """Raises DavidError where the signature is not there: at the file's begin, or at 512 bytes or a doubling of it
    (HDF5 File Format Specification, II.A). OSError where it can't be read."""
    with path.open("rb") as file:
        begin, size, place = file.read(8), path.stat().st_size, 0
        while place < size:
            file.seek(place)
            if file.read(len(_HDF5)) == _HDF5:
                return
            place = max(512, 2 * place)
    raise DavidError(f"{path}: no HDF5 file, as {FILE} is: it begins with {begin!r}; download it again")


def _sizes(path: Path, depth: str) -> tuple[int, int]:
    """How many samples the file holds, and each one's pixels. Raises DavidError where its arrays `images` and `depth`
    are not those of NYU Depth V2: other numbers or axes would make pictures all the same."""
    held = {}
    for name in ("images", depth):
        try:
            held[name] = (tuple(_opened(path)[name].shape), _opened(path)[name].dtype)
        except (OSError, KeyError, AttributeError, RuntimeError) as error:
            raise DavidError(f"{path}: no HDF5 file with an array `{name}` ({error})") from error
    (images, colours), (depths, metres) = held.values()
    if len(images) != 4 or images[1] != 3 or depths != (images[0], *images[2:]):
        raise DavidError(f"{path}: images of {images} and {depth} of {depths} don't agree")
    if colours != np.uint8 or metres.kind not in "fiu":
        raise DavidError(f"{path}: images are {colours} and {depth} {metres}; expected uint8 and float32")
    count, _, width, height = images
    if height > width:
        raise DavidError(
            f"{path}: images of {images} would be {height} rows x {width} columns, but NYU Depth V2's are 480 x 640 "
            "and lie transposed in its file, as MATLAB has them: were they turned back already?"
        )
    if height * width > MAX_PIXELS:
        raise DavidError(f"{path}: images of {images}; at most {MAX_PIXELS:,} pixels each are read")
    return count, height * width


def _array(member: Member) -> np.ndarray:
    """One sample's part of an array. Raises BadSample where it can't be read."""
    name, _, number = member.name.partition("/")
    try:
        return np.asarray(_opened(member.archive)[name][int(number)])
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise BadSample(member.where, f"can't be read: {error}") from error


def _official(path: Path, count: int) -> dict[int, str]:
    """Number, from 1, to `train` or `test`. Raises DavidError where the file is none, or does not split so many."""
    if not path.is_file():
        raise DavidError(f"{path}: the official split is not there; download splits.mat beside the data, or --splits")
    content = matlab.load(path)
    try:
        both = {
            split: np.ravel(content[name]).astype(np.float64).tolist()
            for split, name in (("train", "trainNdxs"), ("test", "testNdxs"))
        }
    except (ValueError, KeyError, TypeError) as error:
        raise DavidError(f"{path}: no split of NYU Depth V2 ({type(error).__name__}: {error})") from error
    if sorted(number for numbers in both.values() for number in numbers) != list(range(1, count + 1)):
        raise DavidError(
            f"{path}: does not split the {count} samples of the data, 1 to {count}, each of them once: it has "
            f"{len(both['train'])} to train on and {len(both['test'])} to test on"
        )
    return {int(number): split for split, numbers in both.items() for number in numbers}
