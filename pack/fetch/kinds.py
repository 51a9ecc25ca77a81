"""What is downloaded: SynthHuman's zips, or the official models; where from, and how each is found whole."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from david.pack.fetch import chunks, lock, models, onnxcheck
from david.pack.raw import zipcheck
from david.pack.raw.zipcheck import Watch


@dataclass(frozen=True)
class Kind:
    """noun: of one file; base_url: where they are published; lock: the file beside them that tells their sizes and
    SHA-256s; damage: the damaged byte ranges (start, stop) of a file, as in `zipcheck.damage`"""

    noun: str
    base_url: str
    lock: str
    damage: Callable[[Path, Watch], list[tuple[int, int]]]


ZIP = Kind("zip", chunks.BASE_URL, lock.NAME, zipcheck.damage)
MODEL = Kind("ONNX file", models.BASE_URL, lock.MODELS_NAME, onnxcheck.damage)
KINDS = (ZIP, MODEL)
