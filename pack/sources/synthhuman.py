"""SynthHuman as Microsoft publishes it, and as `david synth` makes it. Units and axes are converted here.

A sample is `rgb_ID.png` (8-bit RGB), `alpha_ID.png` (8-bit grey), `depth_ID.exr` (float32 `Y`: z-depth in cm,
background 65504), `normal_ID.exr` (float32; B, G, R hold X right, Y up, Z towards the camera) and `cam_ID.txt`
(3 x 3 intrinsics in pixels; may be absent).
"""

import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from david.pack import archive, exr
from david.pack.archive import Member
from david.pack.errors import BadSample, DavidError
from david.pack.schema import SCENARIOS, Sample

BACKGROUND = np.float32(65504)  # the largest finite float16
SCENARIO_ENDS = (98_040, 198_016, 298_008)  # ids are stored in the order of SCENARIOS
_MEMBER = re.compile(r"(?:.*/)?(rgb|alpha|depth|normal|cam)_(\d+)\.(?:png|exr|txt)")
_REQUIRED = ("rgb", "alpha", "depth", "normal")


def scan(raw: Path) -> dict[str, dict[str, Member]]:
    """All samples under `raw`: id -> kind (rgb, alpha, depth, normal, cam) -> member; ids in order.

    Raises DavidError where there are none, BadSample where one lacks a member or occurs twice."""
    found: dict[str, dict[str, Member]] = {}
    for path in archive.archives(raw):
        for member in archive.members(path):
            match = _MEMBER.fullmatch(member.name)
            if match is None:
                continue
            kind, key = match.groups()
            other = found.setdefault(key, {}).setdefault(kind, member)
            if other is not member:
                raise BadSample(f"sample {key}", f"{kind} is there twice, in {other.archive} and in {path}")
    if not found:
        raise DavidError(
            f"{raw}: no SynthHuman samples there (rgb_ID.png and so on, in zips or loose); is it the right folder?"
        )
    for key, kinds in found.items():
        missing = [kind for kind in _REQUIRED if kind not in kinds]
        if missing:
            raise BadSample(
                f"sample {key}", f"{' and '.join(missing)} missing beside {next(iter(kinds.values())).archive}"
            )
    return dict(sorted(found.items()))


def _png(member: Member, data: bytes, flag: int, shape: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None or image.dtype != np.uint8:
        raise BadSample(f"{member.archive}, {member.name}", f"no 8-bit {shape} PNG that can be decoded")
    return image


def _scenario(archive_path: Path, key: str) -> str | None:
    ends = _scenario_ends(archive_path)
    return next((name for name, end in zip(SCENARIOS, ends, strict=True) if int(key) < end), None)


def _scenario_ends(path: Path) -> tuple[int, ...]:
    """The published set's ends, or those that a zip of `david synth` tells in its comment."""
    if path.is_dir():
        return SCENARIO_ENDS
    comment = zipfile.ZipFile(path).comment
    return tuple(json.loads(comment)["scenario_ends"]) if comment.startswith(b'{"scenario_ends"') else SCENARIO_ENDS


def load(key: str, kinds: dict[str, Member]) -> Sample:
    """Read, decode and convert one sample. Raises BadSample that names the member and what was found."""
    data = {kind: archive.read(member) for kind, member in kinds.items()}
    bgr = _png(kinds["rgb"], data["rgb"], cv2.IMREAD_COLOR, "RGB")
    alpha = _png(kinds["alpha"], data["alpha"], cv2.IMREAD_GRAYSCALE, "grey")
    depth = exr.decode(kinds["depth"], data["depth"], ("Y",))[0]
    normals = np.stack(exr.decode(kinds["normal"], data["normal"], ("B", "G", "R")), axis=-1)
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
        intrinsics=_intrinsics(kinds["cam"], data["cam"]) if "cam" in kinds else None,
        meta={
            "scenario": _scenario(kinds["rgb"].archive, key),
            "source": {
                "archive": kinds["rgb"].archive.name,
                "members": {member.name: archive.crc32(member, data[kind]) for kind, member in sorted(kinds.items())},
            },
        },
    )


def _intrinsics(member: Member, data: bytes) -> np.ndarray:
    try:
        matrix = np.array(data.decode("ascii").split(), np.float64).reshape(3, 3)
    except ValueError as error:
        raise BadSample(f"{member.archive}, {member.name}", f"no 3 x 3 intrinsics: {error}") from error
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise BadSample(f"{member.archive}, {member.name}", f"focal lengths must be positive, found {matrix.tolist()}")
    return matrix


def samples(raw: Path) -> Iterator[Sample]:
    """Every sample of a raw folder or zip, in the order of ids."""
    for key, kinds in scan(raw).items():
        yield load(key, kinds)
