"""SynthHuman as Microsoft publishes it, and as `david synth` makes it. Units and axes are converted here.

A sample is `rgb_ID.png` (8-bit RGB), `alpha_ID.png` (8-bit grey), `depth_ID.exr` (float32 `Y`: z-depth in cm,
background 65504), `normal_ID.exr` (float32; B, G, R hold X right, Y up, Z towards the camera) and `cam_ID.txt`
(3 x 3 intrinsics in pixels; may be absent).
"""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from david.pack import archive, exr, png
from david.pack.archive import Member
from david.pack.errors import BadSample, DavidError
from david.pack.schema import SCENARIOS, Sample

BACKGROUND = np.float32(65504)  # the largest finite float16
MAX_PIXELS = 64_000_000
SCENARIO_ENDS = (98_040, 198_016, 298_008)  # ids are stored in the order of SCENARIOS
_MEMBER = re.compile(r"(?:.*/)?(rgb|alpha|depth|normal|cam)_([0-9]+)\.(?:png|exr|txt)")
REQUIRED = ("rgb", "alpha", "depth", "normal")
_TOLD_ENDS = re.compile(rb'\{"scenario_ends": \[([0-9]{1,9}), ([0-9]{1,9}), ([0-9]{1,9})\]\}')
_ID_DIGITS = 18
_PIXEL_BYTES = 16  # a member's largest size: three float32 channels that don't compress, and a third on top,
_ROOM_BYTES = 1 << 20  # with a megabyte of headers
_CAM_BYTES = 4096


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
                raise BadSample(member.where[:200], f"an id of {len(key):,} digits, expected {_ID_DIGITS} at most")
            other = found.setdefault(key, {}).setdefault(kind, member)
            if other is not member:
                faults[key] = BadSample(f"sample {key}", f"{kind} is there twice, in {other.archive} and in {path}")
    if not found:
        raise DavidError(
            f"{raw}: no SynthHuman samples there (rgb_ID.png and so on, in zips or loose); is it the right folder?"
        )
    for key, kinds in found.items():
        missing = [kind for kind in REQUIRED if kind not in kinds]
        if missing:
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
    """The bytes of one sample's members. Raises BadSample for one that can't be read whole, or is larger than
    `max_pixels` pixels can be."""
    most = _PIXEL_BYTES * max_pixels + _ROOM_BYTES
    return {kind: archive.read(member, _CAM_BYTES if kind == "cam" else most) for kind, member in kinds.items()}


def decode(key: str, kinds: dict[str, Member], data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
    """Decode and convert the bytes of one sample's members. Raises BadSample as `load` does."""
    bgr = png.decode(kinds["rgb"], data["rgb"], "RGB", max_pixels)
    alpha = png.decode(kinds["alpha"], data["alpha"], "grey", max_pixels)
    (depth,) = exr.decode(kinds["depth"], data["depth"], ("Y",), max_pixels)
    normals = np.moveaxis(np.stack(exr.decode(kinds["normal"], data["normal"], ("B", "G", "R"), max_pixels)), 0, -1)
    sizes = {"rgb": bgr.shape[:2], "alpha": alpha.shape, "depth": depth.shape, "normal": normals.shape[:2]}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{kind} {height} x {width}" for kind, (height, width) in sizes.items())
        raise BadSample(f"{kinds['rgb'].archive}, sample {key}", f"members differ in size (rows x columns): {told}")
    valid = depth != BACKGROUND
    return Sample(
        key=key,
        rgb=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB),
        alpha=alpha,
        depth_cm=np.where(valid, depth, np.float32(np.nan)),
        normals=normals,
        valid=valid,
        normals_valid=valid,
        intrinsics=intrinsics(kinds["cam"], data["cam"]) if "cam" in kinds else None,
        meta={
            "scenario": _scenario(kinds["rgb"].archive, key),
            "source": {
                "archive": kinds["rgb"].archive.name,
                "members": {member.name: archive.crc32(member, data[kind]) for kind, member in sorted(kinds.items())},
            },
        },
    )


def intrinsics(member: Member, data: bytes) -> np.ndarray:
    try:
        matrix = np.array(data.decode("ascii").split(), np.float64).reshape(3, 3)
    except ValueError as error:
        raise BadSample(member.where, f"no 3 x 3 intrinsics: {error}") from error
    if not np.isfinite(matrix).all() or min(matrix[0, 0], matrix[1, 1]) <= 0 or matrix[2].tolist() != [0, 0, 1]:
        raise BadSample(
            member.where,
            f"intrinsics {matrix.tolist()}; expected positive focal lengths and a last row of 0, 0, 1",
        )
    return matrix


def samples(raw: Path) -> Iterator[Sample]:
    """Every sample of a raw folder or zip, in the order of ids."""
    for key, kinds in scan(raw).items():
        yield load(key, kinds)
