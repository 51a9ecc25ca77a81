"""What packing saw: each figure of the geometry check, what was odd, and how far decoded fields lie from their source.

Counted in histograms shard by shard, so that the report of a set is the sum of its shards' reports.
"""

from dataclasses import fields
from typing import Any

import numpy as np

from david.pack.check.conventions import LEAST_FACING, LEAST_SHARE
from david.pack.check.geometry import Geometry
from david.pack.check.histogram import Histogram
from david.pack.check.pixels import PixelCounts
from david.pack.shards import codecs, shard
from david.pack.shards.schema import Compression, Sample

PRECISION_EVERY = 64  # decoding again costs as much as encoding, so one sample in 64 is measured, chosen by its id

_SHARES = ("valid_share", "normals_x_agrees", "normals_y_agrees", "normals_face_camera", "alpha_covers_valid")
PIXELS = tuple(field.name for field in fields(PixelCounts) if field.name != "valid")
_SAMPLES = ("full_frame", "few_pixels", "against_slopes", "facing_away", "alpha_missing", "no_intrinsics")


def _empty_geometry() -> dict[str, Histogram]:
    table = {name: Histogram.between(0, 1, bins=50) for name in (*_SHARES, "alpha_beyond_valid")}
    return table | {
        name: Histogram.between(20, 3000, bins=80, log=True) for name in ("nearest_cm", "median_cm", "farthest_cm")
    }


def _oddities(seen: Geometry, counts: PixelCounts) -> dict[str, int]:
    """What is odd in a sample, by the names of `Report.odd`: pixels, or 1 where the sample as a whole is."""
    agrees = [share for share in (seen.normals_x_agrees, seen.normals_y_agrees) if share is not None]
    facing = seen.normals_face_camera
    whole = {
        "full_frame": seen.valid_share == 1,
        "few_pixels": not agrees,
        "against_slopes": any(share < LEAST_SHARE for share in agrees),
        "facing_away": facing is not None and facing < LEAST_FACING,
        "alpha_missing": seen.alpha_covers_valid < 0.99,
        "no_intrinsics": seen.size_cm is None,
    }
    found = {name: getattr(counts, name) for name in PIXELS} | {name: int(odd) for name, odd in whole.items()}
    return {name: count for name, count in found.items() if count}


def _empty_precision() -> dict[str, Histogram]:
    return {
        "rgb_levels": Histogram.between(0, 256, bins=256),
        "rgb_psnr_db": Histogram.between(20, 100, bins=160),
        "alpha_levels": Histogram.between(0, 256, bins=256),
        "depth_cm": Histogram.between(1e-6, 1, bins=120, log=True),
        "normals_degrees": Histogram.between(1e-4, 1, bins=120, log=True),
        "validity_pixels": Histogram.between(0, 2, bins=2),
    }


class Report:
    """geometry: one value a sample; odd: name -> in how many samples, and on how many pixels (in `PIXELS`) or again
    samples; precision: errors of every pixel (valid ones for depth and normals) of the samples
    measured, but `rgb_psnr_db` one a sample."""

    def __init__(self) -> None:
        self.geometry = _empty_geometry()
        self.odd: dict[str, tuple[int, int]] = dict.fromkeys((*PIXELS, *_SAMPLES), (0, 0))
        self.precision = _empty_precision()
        self.measured = 0

    def add_geometry(self, seen: Geometry, counts: PixelCounts) -> None:
        for name, histogram in self.geometry.items():
            value = getattr(seen, name)
            if value is not None:
                histogram.add(value)
        for name, count in _oddities(seen, counts).items():
            self._add_odd(name, 1, count)

    def _add_odd(self, name: str, samples: int, count: int) -> None:
        before = self.odd.get(name, (0, 0))
        self.odd[name] = before[0] + samples, before[1] + count

    def add_precision(self, sample: Sample, members: list[bytes], compression: Compression) -> None:
        """Decode what was encoded and compare it with its source."""
        back, valid, table = shard.decode(members, compression), sample.valid, self.precision
        facing = sample.normals_valid & back.normals_valid
        levels = np.abs(back.rgb.astype(np.int16) - sample.rgb)
        mean_square = float(np.square(levels, dtype=np.float64).mean())
        table["rgb_levels"].add_levels(levels)
        table["rgb_psnr_db"].add(10 * np.log10(255**2 / mean_square) if mean_square else 100.0)
        table["alpha_levels"].add_levels(np.abs(back.alpha.astype(np.int16) - sample.alpha))
        table["depth_cm"].add(np.abs(back.depth_cm - sample.depth_cm)[valid])
        table["normals_degrees"].add(codecs.angle_degrees(back.normals[facing], sample.normals[facing]))
        changed = (back.valid != valid) | (back.normals_valid != sample.normals_valid)
        table["validity_pixels"].add(changed.astype(np.float64))
        self.measured += 1

    def merge(self, other: "Report") -> None:
        for ours, theirs in ((self.geometry, other.geometry), (self.precision, other.precision)):
            for name, histogram in ours.items():
                histogram.merge(theirs[name])
        for name, (samples, count) in other.odd.items():
            self._add_odd(name, samples, count)
        self.measured += other.measured

    def as_json(self) -> dict[str, Any]:
        tables = {"geometry": self.geometry, "precision": self.precision}
        return {"measured": self.measured, "odd": {name: list(both) for name, both in self.odd.items()}} | {
            group: {name: histogram.as_json() for name, histogram in table.items()} for group, table in tables.items()
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Report":
        """Raises ValueError, KeyError, TypeError or AttributeError where it is none."""
        report = cls()
        if type(content["measured"]) is not int:
            raise TypeError("a report that counts no samples")
        report.measured = content["measured"]
        report.odd = {name: (int(samples), int(count)) for name, (samples, count) in content.get("odd", {}).items()}
        report.geometry = {name: Histogram.from_json(one) for name, one in content["geometry"].items()}
        report.precision = {name: Histogram.from_json(one) for name, one in content["precision"].items()}
        return report
