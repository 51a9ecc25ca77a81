"""A benchmark's truth and some predictors in, what is measured of each out: picture by picture, one after the other.

While a picture is predicted and measured, the next one is read and decoded. Nothing of a picture is kept but figures,
and a small drawing of the worst: memory does not grow with their number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Shape

import numpy as np

from david.pack.errors import BadSample, DavidError
from david.train.eval.protocols.ahead import ahead
from david.train.eval.protocols.figures import TARGETS
from david.train.eval.protocols.score import Score
from david.train.eval.protocols.table import BENCHMARKS
from david.train.eval.protocols.truth import Truth
from david.train.eval.protocols.worst import Worst

CONSTANT = "a constant answer"


class Subject(Shape):
    """What can be measured: a `Predictor`, and what answers as one."""

    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> tuple[str, ...]: ...
    def predict(self, rgb: np.ndarray, /) -> Mapping[str, np.ndarray]: ...


class Constant:
    """What can be said without looking: a flat depth, normals towards the camera, all foreground."""

    name = CONSTANT
    fields = tuple(TARGETS)

    def predict(self, rgb: np.ndarray, /) -> Mapping[str, np.ndarray]:
        shape = rgb.shape[:2]
        ahead = np.broadcast_to(np.array([0, 0, 1], np.float32), (*shape, 3))
        return {
            "relative_depth": np.zeros(shape, np.float32),
            "normals": ahead,
            "alpha": np.ones(shape, np.float32),
        }


@dataclass(frozen=True)
class Result:
    """benchmark: its name; keys: of the pictures in order; scores: of the subjects in order, the constant answer last;
    sheets: file name -> PNG; notes: what a reader of the figures has to know, as sentences"""

    benchmark: str
    truth: Truth
    keys: list[str]
    scores: list[Score]
    sheets: dict[str, bytes]
    notes: list[str]


def measure(
    benchmark: str,
    truth: Truth,
    subjects: Sequence[Subject],
    worst: int = 8,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Each subject, and a constant answer, on each picture.

    worst: rows of each sheet; watch: hears how many of how many pictures are done. Raises DavidError where a subject
    says nothing that there is truth for, BadSample where a picture can't be measured."""
    protocol = BENCHMARKS[benchmark]
    everybody = [*subjects, Constant()]
    scores = []
    for subject, name in zip(everybody, unlike([one.name for one in everybody]), strict=True):
        fields = tuple(field for field in truth.fields if field in subject.fields)
        if not fields:
            raise DavidError(
                f"{name}: says {', '.join(subject.fields)}, but {benchmark} in {truth.root} has truth for "
                f"{', '.join(truth.fields)}"
            )
        scores.append(Score(name, protocol, fields))
    drawn = Worst(worst, truth.fields, [score.name for score in scores[:-1]])
    keys: list[str] = []
    watch(0, truth.images)
    for sample in ahead(truth.each()):
        for field in truth.fields:
            if not sample.valid(TARGETS[field]).any():
                raise BadSample(f"{truth.root}, sample {sample.key}", f"no pixel of it has {TARGETS[field]}")
        said = [subject.predict(sample.rgb) for subject in everybody]
        ones = [score.add(fields, sample) for score, fields in zip(scores, said, strict=True)]
        drawn.see(sample, said[:-1], ones[:-1])
        keys.append(sample.key)
        watch(len(keys), truth.images)
    return Result(benchmark, truth, keys, scores, drawn.sheets(), [*protocol.notes, *_notes(benchmark, truth, scores)])


def _notes(benchmark: str, truth: Truth, scores: Sequence[Score]) -> list[str]:
    notes, images = [f"Accepted: {doubt}." for doubt in truth.doubts], BENCHMARKS[benchmark].images
    if images and truth.images != images:
        notes.append(f"{benchmark} has {images:,} images, {truth.images:,} are here: these figures are not comparable.")
    for score in scores[:-1]:
        if score.mirrored:
            of = f"depth of {score.mirrored:,} of {truth.images:,} images"
            notes.append(f"{score.name}: {of} does not grow with distance, and counts as flat.")
    return notes


def unlike(names: Sequence[str]) -> list[str]:
    """The names, later ones with a number where they are there before."""
    made = []
    for place, name in enumerate(names):
        times = names[:place].count(name)
        made.append(f"{name} ({times + 1})" if times else name)
    return made
