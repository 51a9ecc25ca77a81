"""DA-2K (Yang et al., "Depth Anything V2", NeurIPS 2024): about 1,000 pictures of eight kinds of scene, and of pairs of
points in them which is closer, as people said. No depth.

`annotations.json` holds for each picture, by its path, a list of `{"point1": [row, column], "point2": [row, column],
"closer_point": "point1"}`; the folder of a picture names its kind of scene. A sample's meta holds

- `scene_type`: one of `SCENE_TYPES`
- `pairs`: for each pair `[row, column, row, column]`, the closer point first, in pixels counted from 0
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from david.pack.errors import BadSample, DavidError
from david.pack.raw import picture
from david.pack.raw.archive import MAX_PIXELS, Entry, Found
from david.pack.shards.sample import Sample
from david.pack.shards.schema import RGB, Fields
from david.pack.sources import listing, metres
from david.pack.sources.listing import Row
from david.pack.sources.source import Raw, Source

ANNOTATIONS = "annotations.json"
SCENE_TYPES = (
    "indoor", "outdoor", "non_real", "transparent_reflective", "adverse_style", "aerial", "underwater", "object",
)  # fmt: skip
SPLIT = "test"
SPLITS = (SPLIT, "train")
_POINTS = ("point1", "point2")


@dataclass(frozen=True)
class Da2k(Source):
    """pairs_split: the split that all of it is: `test`, or `train`, to train on its pairs"""

    name = "da2k"

    pairs_split: str = SPLIT

    def __post_init__(self) -> None:
        if self.pairs_split not in SPLITS:
            raise DavidError(f"--pairs-split is `{self.pairs_split}`, but can only be {' or '.join(SPLITS)}")

    @classmethod
    def recognises(cls, raw: Path) -> bool:
        return _root(raw) is not None

    def scan(self, raw: Raw, bad: dict[str, BadSample] | None = None) -> Found:
        raw = metres.folder(raw, self.name, f"{ANNOTATIONS} and images")
        root = _root(raw)
        if root is None:
            raise DavidError(f"{raw}: no {ANNOTATIONS} there, which has the pairs of DA-2K")
        path = root / ANNOTATIONS
        try:
            content = json.loads(listing.read_text(path))
        except (ValueError, RecursionError) as error:
            raise DavidError(f"{path}: no JSON ({error}); download it again") from error
        if not isinstance(content, dict) or not content:
            raise DavidError(f"{path}: expected a picture's path -> its pairs, found {str(content)[:80]}")
        rows = [_row(f"{path}, {name}", name, pairs, self.pairs_split) for name, pairs in content.items()]
        return metres.listed(root, rows, {self.pairs_split: {"rgb": ("", "images")}}, bad)

    def fields(self, found: Found) -> Fields:
        return (RGB,)

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> dict[str, bytes]:
        return metres.read(entry, max_pixels)

    def decode(self, key: str, entry: Entry, data: dict[str, bytes], max_pixels: int = MAX_PIXELS) -> Sample:
        rgb = picture.rgb(entry.members["rgb"], data["rgb"], max_pixels)
        told = json.loads(entry.told)
        height, width, _ = rgb.shape
        for row, column, other_row, other_column in told["pairs"]:
            if max(row, other_row) >= height or max(column, other_column) >= width:
                raise BadSample(
                    entry.members["rgb"].where,
                    f"a pair of points lies at row {row}, column {column} and row {other_row}, column {other_column}, "
                    f"but the picture is {height} rows x {width} columns: are they [row, column]?",
                )
        return metres.sample(key, entry, data, rgb, None, **told)


def _root(raw: Path) -> Path | None:
    return next((one for one in (raw, raw / "DA-2K") if (one / ANNOTATIONS).is_file()), None)


def _row(where: str, name: str, pairs: Any, split: str) -> Row | BadSample:
    """One picture with its pairs as JSON."""
    kind = next((part for part in reversed(PurePosixPath(name).parts[:-1]) if part in SCENE_TYPES), None)
    if kind is None:
        return BadSample(where, f"lies in none of the folders {', '.join(SCENE_TYPES)}")
    made = []
    for one in pairs if isinstance(pairs, list) else [pairs]:
        try:
            closer = one["closer_point"]
            first, second = (one[point] for point in (closer, _POINTS[closer == _POINTS[0]]))
            if closer not in _POINTS or any(type(n) is not int or n < 0 for n in (*first, *second)):
                raise ValueError("a point's row and column are whole numbers from 0 on")
            if first == second:
                raise ValueError("both points are the same")
            (row, column), (other_row, other_column) = first, second
        except (KeyError, TypeError, ValueError) as error:
            return BadSample(where, f"no pair of points: {str(one)[:120]} ({type(error).__name__}: {error})")
        made.append([row, column, other_row, other_column])
    if not made:
        return BadSample(where, "has no pair of points")
    row = listing.checked(where, {"rgb": name, "split": split})
    told = json.dumps({"scene_type": kind, "pairs": made})
    return row._replace(told=told) if isinstance(row, Row) else row
