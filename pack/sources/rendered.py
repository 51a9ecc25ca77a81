"""Renderings of captured people in the layout `image|depth|normal|mask/SCENE/FRAME`, as Hi4D, THuman and Goliath are
rendered for measuring.

- image: PNG or JPEG
- depth: along the optical axis, growing with distance, in an EXR or NPY of floats, metres unless `depth_scale` says
  otherwise, or in a grey PNG of whole steps of `depth_scale` metres. What is not finite and above 0, and what
  `depth_invalid` lists, is unknown
- normal: an EXR or NPY of floats, or an RGB PNG of 0 .. 1 for -1 .. 1; `normals_axes` says what the three channels
  hold, of themselves X (right), Y (up) and Z (towards the camera). Any length above 0 is made 1
- mask: the person, in a grey PNG or its transparency: 128 or more of 255, or 1 where the largest is 1. Outside it depth
  and normals mean nothing

Either depth or normal may lack as a whole. The layout has no standard beyond its folders' names: units and axes differ
between those who render, so look at the options.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from david.pack.errors import BadSample
from david.pack.raw import picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards.sample import Sample
from david.pack.shards.schema import Fields
from david.pack.sources import paired
from david.pack.sources.folder import AXES, Folder
from david.pack.sources.paired import Layout, Place
from david.pack.sources.source import Raw, Source

SPLIT = "test"
_NUMBERS = (".png", *picture.ARRAYS)


@dataclass(frozen=True)
class Rendered(Source):
    """Options: as `folder.Folder` has them."""

    name = "rendered"
    checks = Folder.checks
    layout: ClassVar[Layout] = Layout(
        {
            "rgb": Place("image"),
            "mask": Place("mask", (".png",)),
            "depth": Place("depth", _NUMBERS, needed=False),
            "normals": Place("normal", _NUMBERS, needed=False),
        }
    )

    depth_scale: float | None = None
    depth_invalid: str | None = None
    normals_axes: str = AXES

    def __post_init__(self) -> None:
        _ = self._files

    @cached_property
    def _files(self) -> Folder:
        """What reads the files of one sample."""
        options = {name: getattr(self, name) for name in ("depth_scale", "depth_invalid", "normals_axes")}
        return Folder(rgb="image/**", **options)

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return cls.layout.fits(raw)

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        found = paired.scan(raw, self.name, self.layout, SPLIT, bad)
        self.fields(found)
        return found

    def fields(self, found: Found) -> Fields:
        return self._files.fields(found)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        others = Entry({kind: member for kind, member in entry.members.items() if kind != "mask"})
        sample = self._files.decode(key, others, data, max_pixels)
        member = entry.members["mask"]
        mask = picture.grey(member, data["mask"], max_pixels)
        paired.require_size(member, "mask", mask, sample.rgb, entry.members["rgb"])
        person = mask >= 128 if mask.max() > 1 else mask == 1
        if not person.any():
            raise BadSample(
                member.where,
                f"a mask without a person: its largest value is {mask.max()}; expected 0 and 255, or 0 and 1",
            )
        values, masks = {}, {}
        for kind, value in sample.values.items():
            valid = sample.valid(kind) & person
            if kind == "depth":
                valid &= np.isfinite(value) & (value > 0)
                values[kind] = np.where(valid, value, np.float32(np.nan))
            else:
                length = np.linalg.norm(value, axis=-1)
                valid &= np.isfinite(length) & (length > 0)
                values[kind] = np.where(valid[..., None], value / np.where(valid, length, 1)[..., None], 0)
            masks[kind] = valid
            if not valid.any():
                raise BadSample(
                    entry.members[kind].where, f"no {kind} within the person of {member.name} means anything"
                )
        return replace(sample, values=values, masks=masks, meta=paired.told(entry, data))
