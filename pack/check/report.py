"""What packing saw: figures of each sample, what was odd, and how far decoded fields lie from their source.

Counted in histograms shard by shard, so that the report of a set is the sum of its shards' reports.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np

from david.pack.check.conventions import LEAST_FACING, LEAST_SHARE
from david.pack.check.evidence import Evidence
from david.pack.check.histogram import Histogram
from david.pack.check.pixels import PixelCounts
from david.pack.shards import codecs, shard
from david.pack.shards.sample import Sample
from david.pack.shards.schema import CM, Compression, Field, Fields

PRECISION_EVERY = 64  # decoding again costs as much as encoding, so one sample in 64 is measured, chosen by its id

_SHARES = ("valid_share", "normals_x_agrees", "normals_y_agrees", "normals_face_camera", "alpha_covers_valid")
PIXELS = tuple(field.name for field in fields(PixelCounts) if field.name != "valid")
_SAMPLES = ("full_frame", "few_pixels", "against_slopes", "facing_away", "alpha_missing", "no_intrinsics")
_CM = "_cm"  # reports written before metres were told hold figures of such names


def _empty_evidence() -> dict[str, Histogram]:
    table = {name: Histogram.between(0, 1, bins=50) for name in (*_SHARES, "alpha_beyond_valid")}
    return table | {
        name: Histogram.between(0.1, 100, bins=120, log=True) for name in ("nearest_m", "median_m", "farthest_m")
    }


def _oddities(seen: Evidence, counts: PixelCounts, sample: Sample) -> dict[str, int]:
    """What is odd in a sample, by the names of `Report.odd`: pixels, or 1 where the sample as a whole is."""
    agrees = [share for share in (seen.normals_x_agrees, seen.normals_y_agrees) if share is not None]
    facing, covers = seen.normals_face_camera, seen.alpha_covers_valid
    whole = {
        "full_frame": seen.valid_share == 1 and covers is not None,
        "few_pixels": not agrees and {"depth", "normals"} <= sample.values.keys(),
        "against_slopes": any(share < LEAST_SHARE for share in agrees),
        "facing_away": facing is not None and facing < LEAST_FACING,
        "alpha_missing": covers is not None and covers < 0.99,
        "no_intrinsics": sample.intrinsics is None,
    }
    found = {name: getattr(counts, name) for name in PIXELS} | {name: int(odd) for name, odd in whole.items()}
    return {name: count for name, count in found.items() if count}


def _empty_precision(name: str) -> Histogram:
    """For a figure of precision, by the unit that its name ends in."""
    match name.rpartition("_")[2]:
        case "levels":
            return Histogram.between(0, 256, bins=256)
        case "db":
            return Histogram.between(20, 100, bins=160)
        case "m":
            return Histogram.between(1e-8, 1e-2, bins=120, log=True)
        case "degrees":
            return Histogram.between(1e-4, 1, bins=120, log=True)
    return Histogram.between(0, 2, bins=2)


def _errors(field: Field, back: Sample, sample: Sample) -> tuple[str, np.ndarray]:
    """The name of a field's figure, and its errors where both are valid."""
    name, both = field.name, sample.valid(field.name) & back.valid(field.name)
    ours, theirs = back.value(name), sample.value(name)
    if field.coding == "u8":
        return f"{name}_levels", np.abs(ours.astype(np.int16) - theirs)[both]
    if field.coding == "octahedral-12":
        return f"{name}_degrees", codecs.angle_degrees(ours[both], theirs[both])
    return f"{name}_m", np.abs(ours[both] - theirs[both] * np.float64(sample.step_m))


@dataclass(frozen=True)
class Accepted:
    """A convention that the user says is right, and what speaks against it. where: it was seen; seen: as a sentence,
    "" where nothing was."""

    convention: str
    where: str
    seen: str = ""

    def __str__(self) -> str:
        if not self.seen:
            return f"accepted: {self.convention}, against which nothing was seen in {self.where}"
        return f"accepted: {self.where}: {self.seen}, as --accept {self.convention} says"

    @classmethod
    def rows(cls, content: list[dict[str, str]]) -> list[Self]:
        """From JSON. Raises ValueError or TypeError where one is none."""
        made = [cls(**row) for row in content]
        if any(type(text) is not str for one in made for text in (one.convention, one.where, one.seen)):
            raise ValueError("what was accepted is no text")
        return made


class Report:
    """evidence: one value a sample; odd: name -> in how many samples, and on how many pixels (in `PIXELS`) or again
    samples; precision: errors of every pixel (valid ones where a field has a mask) of the samples measured, but
    `rgb_psnr_db` one a sample; accepted: of the whole set. A figure's name ends in its unit."""

    def __init__(self) -> None:
        self.evidence = _empty_evidence()
        self.odd: dict[str, tuple[int, int]] = dict.fromkeys((*PIXELS, *_SAMPLES), (0, 0))
        self.precision: dict[str, Histogram] = {}
        self.measured = 0
        self.accepted: list[Accepted] = []

    def add_evidence(self, seen: Evidence, counts: PixelCounts, sample: Sample) -> None:
        for name, histogram in self.evidence.items():
            value = getattr(seen, name)
            if value is not None:
                histogram.add(value)
        for name, count in _oddities(seen, counts, sample).items():
            self._add_odd(name, 1, count)

    def _add_odd(self, name: str, samples: int, count: int) -> None:
        before = self.odd.get(name, (0, 0))
        self.odd[name] = before[0] + samples, before[1] + count

    def _precision(self, name: str) -> Histogram:
        return self.precision.setdefault(name, _empty_precision(name))

    def add_precision(self, sample: Sample, members: list[bytes], compression: Compression, fields: Fields) -> None:
        """Decode what was encoded and compare it with its source."""
        back = shard.decode(members, compression, fields)
        levels = np.abs(back.rgb.astype(np.int16) - sample.rgb)
        mean_square = float(np.square(levels, dtype=np.float64).mean())
        self._precision("rgb_levels").add_levels(levels)
        self._precision("rgb_psnr_db").add(10 * np.log10(255**2 / mean_square) if mean_square else 100.0)
        changed = np.zeros(levels.shape[:2], bool)
        for field in fields[1:]:
            if field.name in sample.values:
                name, errors = _errors(field, back, sample)
                if field.coding == "u8":
                    self._precision(name).add_levels(errors)
                else:
                    self._precision(name).add(errors)
                changed |= back.valid(field.name) != shard.mask(sample, field)
        self._precision("validity_pixels").add(changed.astype(np.float64))
        self.measured += 1

    def merge(self, other: "Report") -> None:
        for ours, theirs in ((self.evidence, other.evidence), (self.precision, other.precision)):
            for name, histogram in theirs.items():
                if name in ours:
                    ours[name].merge(histogram)
                else:
                    ours[name] = histogram.copy()
        for name, (samples, count) in other.odd.items():
            self._add_odd(name, samples, count)
        self.measured += other.measured

    def as_json(self) -> dict[str, Any]:
        tables = {"evidence": self.evidence, "precision": self.precision}
        told = {"measured": self.measured, "odd": {name: list(both) for name, both in self.odd.items()}} | {
            group: {name: histogram.as_json() for name, histogram in table.items()} for group, table in tables.items()
        }
        return told | ({"accepted": [asdict(one) for one in self.accepted]} if self.accepted else {})

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Report":
        """Raises ValueError, KeyError, TypeError or AttributeError where it is none."""
        report = cls()
        if type(content["measured"]) is not int:
            raise TypeError("a report that counts no samples")
        report.measured = content["measured"]
        report.odd = {name: (int(samples), int(count)) for name, (samples, count) in content.get("odd", {}).items()}
        report.accepted = Accepted.rows(content.get("accepted", []))
        evidence = content["evidence"] if "evidence" in content else content["geometry"]  # as version 1 has it
        report.evidence = dict(_figure(name, one) for name, one in evidence.items())
        report.precision = dict(_figure(name, one) for name, one in content["precision"].items())
        return report


def _figure(name: str, content: dict[str, Any]) -> tuple[str, Histogram]:
    """A figure from JSON, in metres where it was told in centimetres."""
    histogram = Histogram.from_json(content)
    if name.endswith(_CM):
        return f"{name.removesuffix(_CM)}_m", histogram.scaled(CM)
    return name, histogram
