"""Anybody's own images, with or without depth, normals, alpha and cameras: files in a folder, told by patterns of their
names or by a list (see `listing.py`); what a number in them means is told by options.

- rgb: PNG or JPEG, or what `raw/photo.py` reads besides; a JPEG is turned upright as its Exif data says, and with
  nothing beside it any picture
- depth: along the optical axis, in a grey PNG of 8 or 16 bits, whose whole steps are kept as they are; or in an EXR or
  NPY of floats. Numbers that `depth_invalid` lists, and 0 of a PNG, are unknown; `depth_sky` and infinity are sky
- normals: RGB PNG of 0 .. 1 for -1 .. 1, or an EXR or NPY of floats; `normals_axes` says what the three channels hold
- alpha: soft foreground, a grey PNG or JPEG, or the transparency of a PNG
- camera: a text of 3 x 3 intrinsics, or of fx, fy, cx, cy, in pixels; `intrinsics` are those of all

All pictures of a sample are of one size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from david.pack.check.conventions import CameraNormals, PlausibleDepth
from david.pack.errors import BadSample, DavidError
from david.pack.raw import archive, photo, picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found, Member
from david.pack.shards.codings import MOST_STEPS
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import listing, metres, photos
from david.pack.sources.camera import intrinsics
from david.pack.sources.listing import FILES, Row
from david.pack.sources.source import Raw, Source

EVERY_PICTURE = f"**.{{{','.join(one[1:] for one in photos.SUFFIXES)}}}"
AXES = "x,y,z"
_NUMBERS = (".png", *picture.ARRAYS)
_ENDINGS = {"rgb": photos.ALL, "depth": _NUMBERS, "normals": _NUMBERS, "alpha": picture.PICTURES}
_DEPTH_LAYERS = (("Y",), ("Z",), ("V",), ("R",), ("depth.Z",), ("Depth.Z",))
_VECTOR_LAYERS = (("R", "G", "B"), ("X", "Y", "Z"))
_PIXEL_BYTES = 64  # more than any of these files has for a pixel
_ROOM_BYTES = 1 << 22  # for headers, profiles and thumbnails
_CAMERA_BYTES = 4096
_NEAR_UNIT = 0.1  # a normal of 8 bits a channel is this near to length 1, and is made so


@dataclass(frozen=True)
class Folder(Source):
    """Options: a list, or patterns of names by kind, and what numbers mean.

    depth_scale: metres a step, required of PNGs; depth_invalid: numbers that are no depth, apart by commas;
    columns: what a list calls its columns (see `listing.py`); depth_bits: `rotated` as in SUN RGB-D's raw PNGs, or
    `plain`, which is also taken where nothing is said, but not of PNGs that look rotated
    depth_sky: the number that is sky; normals_axes: which channel our X (right), Y (up) and Z (towards the camera) are,
    as `x,-y,-z` of normals in OpenCV's frame; intrinsics: fx,fy,cx,cy of all images"""

    name = "folder"
    checks = (
        CameraNormals(option="--normals-axes"),
        PlausibleDepth(
            (0.01, 10_000.0),
            (0.005, 20_000.0),
            "marked by --depth-invalid",
            smooth=False,
            option="--depth-scale",
            likely_m=(0.1, 200.0),
        ),
    )

    list: Path | None = None
    columns: str | None = None
    rgb: str | None = None
    depth: str | None = None
    normals: str | None = None
    alpha: str | None = None
    camera: str | None = None
    depth_scale: float | None = None
    depth_bits: str | None = None
    depth_invalid: str | None = None
    depth_sky: float | None = None
    normals_axes: str = AXES
    intrinsics: str | None = None

    def __post_init__(self) -> None:
        patterns = [kind for kind in FILES if getattr(self, kind) is not None]
        if self.list is not None and patterns:
            raise DavidError(f"--list and --{patterns[0]} both say which files to take; give one of them")
        if patterns and self.rgb is None:
            raise DavidError(f"--{patterns[0]} needs --rgb beside it, such as --rgb 'rgb/*.jpg'")
        if self.depth_scale is not None and not 0 < self.depth_scale < float("inf"):
            raise DavidError(f"--depth-scale is {self.depth_scale}, but is metres a step, such as 0.001")
        if self.depth_bits not in (None, "plain", "rotated"):
            raise DavidError(f"--depth-bits is `{self.depth_bits}`, but can only be plain or rotated")
        if self.columns is not None and self.list is None:
            raise DavidError("--columns says how to read a list; give it with --list FILE")
        listing.renamed(self.columns)
        if self.depth_sky is not None and math.isnan(self.depth_sky):
            raise DavidError("--depth-sky is nan, but is the number that stands for sky")
        self._invalid()
        self._axes()
        if self.intrinsics is not None:
            intrinsics("--intrinsics", self.intrinsics.encode(), 1000, 1000)

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        if not isinstance(raw, Path) or not raw.is_dir():
            raise DavidError(f"{raw}: no folder there; --source folder packs the files of one")
        members = {member.name: member for member in archive.members(raw)}
        rows = list(self._listed(members) if self.list is None else self._of_list(raw))
        faults: dict[str, BadSample] = {}
        found: dict[str, Entry] = {}
        places: dict[str, str] = {}
        for key, row in listing.keyed(rows):
            if isinstance(row, BadSample):
                faults[key] = row
            elif key in places:
                faults[key] = BadSample(row.where, f"{row.files['rgb']} is there twice, before at {places[key]}")
            else:
                places[key] = row.where
                entry = self._entry(row, members)
                if isinstance(entry, BadSample):
                    faults[key] = entry
                else:
                    found[key] = entry
        if not found and not faults:
            raise DavidError(f"{raw}: no pictures there that fit; expected {self.rgb or EVERY_PICTURE}")
        if faults and bad is None:
            raise next(iter(faults.values()))
        if bad is not None:
            bad.update(sorted(faults.items()))
        self.fields(found)
        return {key: found[key] for key in sorted(found.keys() - faults.keys())}

    def _of_list(self, raw: Path) -> Iterator[Row | BadSample]:
        assert self.list is not None
        path = self.list if self.list.exists() or self.list.is_absolute() else raw / self.list
        return listing.rows(path, self.columns)

    def _listed(self, members: dict[str, Member]) -> Iterator[Row | BadSample]:
        """By patterns: every RGB has one file of each kind that a pattern is given for."""
        patterns = {kind: getattr(self, kind) for kind in FILES if getattr(self, kind) is not None}
        others = {kind: dict(listing.matches(members, pattern)) for kind, pattern in patterns.items() if kind != "rgb"}
        taken = {name for names in others.values() for name in names.values()}
        for kind, names in others.items():
            if not names:
                raise DavidError(f"--{kind} {patterns[kind]}: no file there that fits")
        pictures = list(listing.matches(members, patterns.get("rgb", EVERY_PICTURE)))
        if not patterns:
            photos.require(next(iter(members.values())).archive if members else "", (name for _, name in pictures))
        for stars, name in pictures:
            if name in taken:
                continue
            missing = [kind for kind in others if stars not in others[kind]]
            if missing:
                expected = f"one that fits {patterns[missing[0]]}, with `{'`, `'.join(stars)}` for its stars"
                yield BadSample(name, f"has no {missing[0]} beside it; expected {expected}")
            else:
                files = {"rgb": name} | {kind: names[stars] for kind, names in others.items()}
                yield Row(name, files, None, "/".join(stars) if self.rgb else None)

    def _entry(self, row: Row, members: dict[str, Member]) -> Entry | BadSample:
        """The members of a row, which have to be there and of a kind that can be read."""
        found = {}
        for kind, name in row.files.items():
            member = members.get(name)
            if member is None:
                return BadSample(row.where, f"{kind} `{name}` is not there; expected a file of the raw folder")
            endings = _ENDINGS.get(kind)
            if endings and picture.suffix(member) not in endings:
                return BadSample(row.where, f"{kind} `{name}`: expected a file ending in {' or '.join(endings)}")
            found[kind] = member
        return Entry(found, row.split)

    def fields(self, found: Found) -> Fields:
        """Those that some sample has; depth as whole steps where it is in PNGs. Raises DavidError where it is in both
        kinds of files, or in PNGs without a scale."""
        kinds = {kind for entry in found.values() for kind in entry.members}
        fields = [RGB]
        if "alpha" in kinds:
            fields.append(Field("alpha", "u8"))
        if "depth" in kinds:
            members = [entry.members["depth"] for entry in found.values() if "depth" in entry.members]
            by_kind = {picture.suffix(member) == ".png": member for member in members}
            if len(by_kind) > 1:
                raise DavidError(
                    f"depth is in PNGs ({by_kind[True].name}) and in floats ({by_kind[False].name}); expected one kind "
                    "in a set: pack two sets, and train on both"
                )
            if True in by_kind and self.depth_scale is None:
                raise DavidError(
                    f"{by_kind[True].where}: depth in whole steps needs --depth-scale, metres a step: 0.001 for mm"
                )
            fields.append(Field("depth", "u16-linear" if True in by_kind else "f16-affine"))
        if "normals" in kinds:
            fields.append(Field("normals", "octahedral-12"))
        return tuple(fields)

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        most = _PIXEL_BYTES * max_pixels + _ROOM_BYTES
        return {
            kind: archive.read(member, _CAMERA_BYTES if kind == "camera" else most)
            for kind, member in entry.members.items()
        }

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        members = entry.members
        rgb = photo.of_member(members["rgb"], data["rgb"], max_pixels, alone=len(members) == 1)
        if self.rgb is None and self.list is None:
            photos.require_photo(members["rgb"], data["rgb"])
        values: dict[str, np.ndarray] = {}
        masks: dict[str, np.ndarray] = {}
        if "depth" in members:
            values["depth"], masks["depth"] = self._depth(members["depth"], data["depth"], max_pixels)
        if "normals" in members:
            values["normals"] = self._normals(members["normals"], data["normals"], max_pixels)
            masks["normals"] = np.any(values["normals"] != 0, axis=-1)
        if "alpha" in members:
            values["alpha"] = picture.grey(members["alpha"], data["alpha"], max_pixels)
            masks["alpha"] = np.ones(values["alpha"].shape, bool)
        for kind, value in values.items():
            if value.shape[:2] != rgb.shape[:2]:
                raise BadSample(
                    members[kind].where,
                    f"{kind} is {value.shape[0]} rows x {value.shape[1]} columns, rgb {rgb.shape[0]} x {rgb.shape[1]} "
                    f"({members['rgb'].name}, upright); expected one size",
                )
        told = {member.name: archive.crc32(member, data[kind]) for kind, member in sorted(members.items())}
        return Sample(
            key=key,
            rgb=rgb,
            values=values,
            masks=masks,
            intrinsics=self._intrinsics(members, data, *rgb.shape[:2]),
            meta={"source": {"archive": entry.archive.name, "members": told}},
            step_m=self.depth_scale or 1.0,
        )

    def _depth(self, member: Member, data: bytes, max_pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) float32 as stored, infinite for sky, and where it is known."""
        whole = picture.suffix(member) == ".png"
        if whole:
            stored = self._steps(member, data, max_pixels).astype(np.float32)
        else:
            stored = picture.floats(member, data, _DEPTH_LAYERS, max_pixels)[..., 0]
        sky = np.isposinf(stored) if self.depth_sky is None else np.isposinf(stored) | (stored == self.depth_sky)
        known = ~np.isin(stored, self._invalid()) & ~np.isnan(stored) & ~sky
        if whole:
            known &= stored != 0
            if (stored[known] > MOST_STEPS).any():
                raise BadSample(
                    member.where,
                    "holds the step 65535, which shards keep for sky; say what it means: --depth-invalid 65535 or "
                    "--depth-sky 65535",
                )
        return np.where(known, stored, np.where(sky, np.float32(np.inf), np.float32(np.nan))), known

    def _steps(self, member: Member, data: bytes, max_pixels: int) -> np.ndarray:
        """(H, W) whole steps, their bits turned back where that is said. Raises BadSample where it should be said."""
        if self.depth_bits == "rotated":
            stored = metres.steps(member, data, max_pixels)
            if seen := metres.misread(stored, as_rotated=True):
                raise BadSample(member.where, f"{seen}: leave out --depth-bits rotated")
            return metres.unrotated(stored)
        steps = picture.steps(member, data, max_pixels)
        if self.depth_bits is None and steps.dtype == np.uint16 and (seen := metres.turned(steps)):
            told = "--depth-bits rotated; or --depth-bits plain, if they are right as they are"
            raise BadSample(member.where, f"{seen}: {told}")
        return steps

    def _normals(self, member: Member, data: bytes, max_pixels: int) -> np.ndarray:
        """(H, W, 3) float32, X right, Y up, Z towards the camera; (0, 0, 0) where the file has none."""
        if picture.suffix(member) == ".png":
            colours = picture.colours(member, data, max_pixels)
            stored = (colours * 2 - 1) * colours.any(-1, keepdims=True)  # black is none
            length = np.linalg.norm(stored, axis=-1, keepdims=True)
            stored /= np.where(np.abs(length - 1) <= _NEAR_UNIT, length, 1)
        else:
            stored = picture.floats(member, data, _VECTOR_LAYERS, max_pixels)
        return np.stack([sign * stored[..., axis] for axis, sign in self._axes()], axis=-1)

    def _intrinsics(
        self, members: dict[str, Member], data: dict[str, bytes], height: int, width: int
    ) -> np.ndarray | None:
        if "camera" in members:
            return intrinsics(members["camera"].where, data["camera"], height, width)
        if self.intrinsics is not None:
            return intrinsics("--intrinsics", self.intrinsics.encode(), height, width)
        return None

    def _invalid(self) -> tuple[float, ...]:
        try:
            return tuple(float(word) for word in (self.depth_invalid or "").split(",") if word.strip())
        except ValueError as error:
            raise DavidError(f"--depth-invalid is `{self.depth_invalid}`, but is numbers apart by commas") from error

    def _axes(self) -> tuple[tuple[int, int], ...]:
        """For X, Y and Z the channel that holds it, and its sign."""
        words = [word.strip().lower() for word in self.normals_axes.split(",")]
        if sorted(word.removeprefix("-") for word in words) != ["x", "y", "z"]:
            raise DavidError(f"--normals-axes is `{self.normals_axes}`, but is x, y and z in some order, as x,-y,-z")
        return tuple(("xyz".index(word[-1]), -1 if word.startswith("-") else 1) for word in words)
