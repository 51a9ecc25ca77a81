"""Benchmarks of portrait matting, as their authors publish them: photographs with soft foreground beside them.

- P3M-500 (Li et al., "Privacy-Preserving Portrait Matting", ACM MM 2021), two sets of 500: `P3M-500-NP` with
  `original_image`, and `P3M-500-P`, faces blurred, with `blurred_image`; both with `mask` and `trimap`
- PPM-100 (Ke et al., "MODNet", AAAI 2022), 100: `image` and `matte`, and no trimap
- PhotoMatte85 (Sengupta et al., "Background Matting: The World is Your Green Screen", CVPR 2020), 85 PNG of RGBA. The
  backgrounds on which others measure are unpublished: these lie on grey, and figures are compared with nobody's

Where a set has trimaps they are the field `trimap`: 0 background, 128 unknown, 255 foreground.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from david.pack.check.conventions import ForegroundAlpha
from david.pack.errors import BadSample
from david.pack.raw import picture, png
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Field, Fields
from david.pack.sources import paired
from david.pack.sources.paired import Layout, Place
from david.pack.sources.source import Raw, Source

UNKNOWN = 128  # of a trimap
GREY = 128  # that cut-outs lie on
SPLIT = "test"


@dataclass(frozen=True)
class Matting(Source):
    """Photographs, alpha, and for some a trimap, in folders side by side."""

    layout: ClassVar[Layout]
    checks = (ForegroundAlpha(),)

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return cls.layout.fits(raw)

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        return paired.scan(raw, self.name, self.layout, SPLIT, bad)

    def fields(self, found: Found) -> Fields:
        return (RGB, *(Field(kind, "u8") for kind in self.layout.places if kind != "rgb"))

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        members = entry.members
        rgb = picture.rgb(members["rgb"], data["rgb"], max_pixels)
        values = {kind: picture.grey(members[kind], data[kind], max_pixels) for kind in members if kind != "rgb"}
        for kind, value in values.items():
            paired.require_size(members[kind], kind, value, rgb, members["rgb"])
        if "trimap" in values and not (values["trimap"] == UNKNOWN).any():
            levels = ", ".join(map(str, np.unique(values["trimap"])[:5]))
            raise BadSample(members["trimap"].where, f"a trimap without an unknown pixel, {UNKNOWN}; it holds {levels}")
        whole = np.ones(rgb.shape[:2], bool)
        return Sample(key, rgb, values, dict.fromkeys(values, whole), meta=paired.told(entry, data))


class P3M500NP(Matting):
    name = "p3m-500-np"
    layout = Layout(
        {"rgb": Place("original_image"), "alpha": Place("mask"), "trimap": Place("trimap")}, ("P3M-500-NP",)
    )


class P3M500P(Matting):
    name = "p3m-500-p"
    layout = Layout({"rgb": Place("blurred_image"), "alpha": Place("mask"), "trimap": Place("trimap")}, ("P3M-500-P",))


class PPM100(Matting):
    name = "ppm-100"
    layout = Layout({"rgb": Place("image"), "alpha": Place("matte")}, ("PPM-100",))


class PhotoMatte85(Matting):
    """Cut-outs, laid on grey."""

    name = "photomatte85"
    layout = Layout({"rgb": Place("", (".png",))}, ("PhotoMatte85",))

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return False  # any folder of PNGs looks like it

    def fields(self, found: Found) -> Fields:
        return (RGB, Field("alpha", "u8"))

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        member, file = entry.members["rgb"], data["rgb"]
        foreground = picture.rgb(member, file, max_pixels)
        if (colour := png.read_header(file).colour) != "RGB with alpha":
            raise BadSample(member.where, f"expected a cut-out, a PNG of RGB with alpha, found {colour}")
        alpha = picture.grey(member, file, max_pixels)
        share = alpha[..., None] / np.float32(255)
        rgb = np.round(foreground * share + GREY * (1 - share)).astype(np.uint8)
        values, whole = {"alpha": alpha}, np.ones(alpha.shape, bool)
        return Sample(key, rgb, values, {"alpha": whole}, meta=paired.told(entry, data))
