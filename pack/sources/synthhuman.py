"""SynthHuman as Microsoft publishes it, and as `david synth` makes it. Units and axes are converted here.

A sample is `rgb_ID.png` (8-bit RGB), `alpha_ID.png` (8-bit grey), `depth_ID.exr` (float32 `Y`: z-depth in cm,
background 65504), `normal_ID.exr` (float32; B, G, R hold X right, Y up, Z towards the camera) and `cam_ID.txt`
(3 x 3 intrinsics in pixels; may be absent).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from david.pack.check.conventions import CameraNormals, Convention, ForegroundAlpha, PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, exr, png
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.sample import Sample
from david.pack.shards.schema import CM, FIELDS_V1, SCENARIOS, Fields
from david.pack.sources.camera import intrinsics
from david.pack.sources.source import Source

BACKGROUND = np.float32(65504)  # the largest finite float16
CHECKS: tuple[Convention, ...] = (
    CameraNormals(channels=("B", "G", "R")),
    PlausibleDepth(
        median_m=(0.2, 30.0),  # where people stand in front of a camera
        surely_m=(0.05, 100.0),
        size_m=(0.03, 2.0),  # of what is seen of people, from eyes to groups
        deepest_m=2.0,
        invalid="65504",
        unit="cm",
    ),
    ForegroundAlpha(),
)
SCENARIO_ENDS = (98_040, 198_016, 298_008)  # ids are stored in the order of SCENARIOS
_MEMBER = re.compile(r"(?:.*/)?(rgb|alpha|depth|normal|cam)_([0-9]+)\.(?:png|exr|txt)")
REQUIRED = ("rgb", "alpha", "depth", "normal")
_TOLD_ENDS = re.compile(rb'\{"scenario_ends": \[([0-9]{1,9}), ([0-9]{1,9}), ([0-9]{1,9})\]\}')
_ID_DIGITS = 18
_PIXEL_BYTES = {"rgb": 5, "alpha": 2, "depth": 6, "normal": 16}  # a pixel in a file that does not compress, and more
_ROOM_BYTES = 1 << 20  # for a file's headers
_LOOK_BYTES = 1 << 23  # a file above is read only once its header has been looked at
_CAM_BYTES = 4096


@dataclass(frozen=True)
class SynthHuman(Source):
    """The functions below, as a source."""

    name = "synthhuman"
    checks = CHECKS

    def scan(self, raw: Path | list[Path], bad: dict[str, BadSample] | None = None) -> Found:
        return {key: Entry(kinds) for key, kinds in scan(raw, bad).items()}

    def fields(self, found: Found) -> Fields:
        return FIELDS_V1

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return read(entry.members, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        return decode(key, entry.members, data, max_pixels)


def scan(raw: Path | list[Path], bad: dict[str, BadSample] | None = None) -> dict[str, dict[str, Member]]:
    """All samples under `raw`, a folder, a zip or several zips: id -> kind (rgb, alpha, depth, normal, cam) -> member;
    ids in order.

    Raises DavidError where there are none, BadSample where one lacks a member or occurs twice; with `bad` such samples
    are left out and put there under their ids."""
    found: dict[str, dict[str, Member]] = {}
    faults: dict[str, BadSample] = {}
    for path in raw if isinstance(raw, list) else archive.archives(raw):
        for member in archive.members(path):
            match = _MEMBER.fullmatch(member.name)
            if match is None:
                continue
            kind, key = match.groups()
            if len(key) > _ID_DIGITS:
                short = f"{key[:_ID_DIGITS]}..."
                reason = f"an id of {len(key):,} digits, expected {_ID_DIGITS} at most"
                faults[short] = BadSample(member.where[:200], reason)
                continue
            if member.fault:
                faults[key] = BadSample(member.where, f"{member.fault}, expected a plain file, stored or deflated")
            other = found.setdefault(key, {}).setdefault(kind, member)
            if other is not member:
                faults[key] = BadSample(f"sample {key}", f"{kind} is there twice, in {other.archive} and in {path}")
    if not found and not faults:
        raise DavidError(
            f"{raw}: no SynthHuman samples there (rgb_ID.png and so on, in zips or loose); is it the right folder, "
            "or is it data of another --source?"
        )
    for key, kinds in found.items():
        missing = [kind for kind in REQUIRED if kind not in kinds]
        if missing and key not in faults:
            beside = next(iter(kinds.values())).archive
            faults[key] = BadSample(f"sample {key}", f"{' and '.join(missing)} missing beside {beside}")
    if bad is None and faults:
        raise faults[min(faults)]
    if bad is not None:
        bad.update(sorted(faults.items()))
    return {key: kinds for key, kinds in sorted(found.items()) if key not in faults}


def _scenario(archive_path: Path, key: str) -> str | None:
    ends = _scenario_ends(archive_path)
    return next((name for name, end in zip(SCENARIOS, ends, strict=True) if int(key) < end), None)


def _scenario_ends(path: Path) -> tuple[int, ...]:
    """The published set's ends, or those that a zip of `david synth` tells in its comment."""
    told = None if path.is_dir() else _TOLD_ENDS.fullmatch(archive.comment(path))
    return tuple(map(int, told.groups())) if told else SCENARIO_ENDS


def load(key: str, kinds: dict[str, Member], max_pixels: int = MAX_PIXELS) -> Sample:
    """Read, decode and convert one sample. Raises BadSample that names the member and what was found."""
    return decode(key, kinds, read(kinds, max_pixels), max_pixels)


def read(kinds: dict[str, Member], max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
    """The bytes of one sample's members. Raises BadSample for one that can't be read whole, or is larger than an image
    of as many pixels as its header declares can be; nothing large is inflated before its header was looked at."""
    for kind, member in kinds.items():
        if kind in _PIXEL_BYTES and member.size > _LOOK_BYTES:
            height, width = _size(kind, member, archive.begin(member, exr.MAX_HEADER_BYTES), max_pixels)
            most = _PIXEL_BYTES[kind] * height * width + _ROOM_BYTES
            if member.size > most:
                raise BadSample(
                    member.where,
                    f"declares {height:,} rows x {width:,} columns, {most:,} bytes at most, but has {member.size:,}",
                )
    return {
        kind: archive.read(member, _CAM_BYTES if kind == "cam" else _PIXEL_BYTES[kind] * max_pixels + _ROOM_BYTES)
        for kind, member in kinds.items()
    }


def _size(kind: str, member: Member, data: bytes, max_pixels: int) -> tuple[int, int]:
    """The rows and columns that an image's header declares. Raises BadSample where there is none, or it's too many."""
    try:
        header = (png if kind in ("rgb", "alpha") else exr).read_header(data)
        archive.require_pixels(header.height, header.width, max_pixels)
    except ValueError as error:
        raise BadSample(member.where, f"{kind} can't be decoded: {error}") from error
    return header.height, header.width


def decode(key: str, kinds: dict[str, Member], data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
    """Decode and convert the bytes of one sample's members. Raises BadSample as `load` does."""
    sizes = {kind: _size(kind, kinds[kind], data[kind], max_pixels) for kind in REQUIRED}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{kind} {height} x {width}" for kind, (height, width) in sizes.items())
        raise BadSample(f"{kinds['rgb'].archive}, sample {key}", f"members differ in size (rows x columns): {told}")
    bgr = png.decode(kinds["rgb"], data["rgb"], "RGB", max_pixels)
    alpha = png.decode(kinds["alpha"], data["alpha"], "grey", max_pixels)
    (depth,) = exr.decode(kinds["depth"], data["depth"], ("Y",), max_pixels)
    normals = np.moveaxis(np.stack(exr.decode(kinds["normal"], data["normal"], ("B", "G", "R"), max_pixels)), 0, -1)
    valid = depth != BACKGROUND
    return Sample(
        key=key,
        rgb=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        values={"alpha": alpha, "depth": np.where(valid, depth, np.float32(np.nan)), "normals": normals},
        masks={"alpha": np.ones_like(valid), "depth": valid, "normals": valid},
        intrinsics=intrinsics(kinds["cam"].where, data["cam"], *valid.shape) if "cam" in kinds else None,
        meta={
            "scenario": _scenario(kinds["rgb"].archive, key),
            "source": {
                "archive": kinds["rgb"].archive.name,
                "members": {member.name: archive.crc32(member, data[kind]) for kind, member in sorted(kinds.items())},
            },
        },
        step_m=CM,
    )


def samples(raw: Path) -> Iterator[Sample]:
    """Every sample of a raw folder or zip, in the order of ids."""
    for key, kinds in scan(raw).items():
        yield load(key, kinds)
