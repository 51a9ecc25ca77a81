"""A benchmark's truth and some predictors in, what is measured of each out: picture by picture, one after the other.

While a picture is predicted and measured, the next one is read and decoded. Nothing of a picture is kept but figures,
and a small drawing of the worst: memory does not grow with their number.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol as Shape

import numpy as np

from david.pack.errors import BadSample, DavidError
from david.pack.shards.sample import Sample
from david.train.eval.constant import best_m
from david.train.eval.protocols.ahead import ahead
from david.train.eval.protocols.asking import FLIPPED, answer
from david.train.eval.protocols.figures import IN_META, TARGETS, way
from david.train.eval.protocols.score import Score
from david.train.eval.protocols.table import BENCHMARKS
from david.train.eval.protocols.truth import Truth
from david.train.eval.protocols.worst import Worst

CONSTANT = "a constant answer"
LOOKED_AT = 8  # pictures after which a metric depth that runs the wrong way is no accident
AGAINST = -0.3  # correlation of log metres, said and true, from which on it does


class Subject(Shape):
    """What can be measured: a `Predictor`, and what answers as one."""

    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> tuple[str, ...]: ...
    def predict(self, rgb: np.ndarray, /) -> Mapping[str, np.ndarray]: ...


class Constant:
    """What can be said without looking: a flat depth, of so many metres, normals towards the camera, all foreground."""

    name = CONSTANT
    fields = ("metric_depth_m", "relative_depth", "normals", "alpha")

    def __init__(self, metres: float = 1.0):
        self.metres = metres

    def predict(self, rgb: np.ndarray, /) -> Mapping[str, np.ndarray]:
        shape = rgb.shape[:2]
        ahead = np.broadcast_to(np.array([0, 0, 1], np.float32), (*shape, 3))
        return {
            "relative_depth": np.zeros(shape, np.float32),
            "normals": ahead,
            "alpha": np.ones(shape, np.float32),
            "metric_depth_m": np.full(shape, self.metres, np.float32),
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
    flip: bool = False,
    accept: Sequence[str] = (),
) -> Result:
    """Each subject, and a constant answer, on each picture.

    worst: rows of each sheet; watch: hears how many of how many pictures are done; flip: see `asking.answer`; accept:
    `depth`, though metres that are said grow where the true ones fall. Raises DavidError where a subject says nothing
    that there is truth for, BadSample where a picture can't be measured."""
    protocol = BENCHMARKS[benchmark]
    if flip and not set(truth.fields) <= {*FLIPPED, "nearness"}:
        raise DavidError(f"--flip: {benchmark} has truth for {', '.join(truth.fields)}; only depth alone is averaged")
    span = protocol.span
    flat = best_m(map(span.counted_m, truth.some())) if span else 1.0
    everybody = [*subjects, Constant(flat)]
    scores = []
    for subject, name in zip(everybody, unlike([one.name for one in everybody]), strict=True):
        found = {field: way(field, subject.fields) for field in truth.fields}
        ways = {field: one for field, one in found.items() if one is not None}
        if not ways:
            raise DavidError(
                f"{name}: says {', '.join(subject.fields)}, but {benchmark} in {truth.root} has truth for "
                f"{', '.join(truth.fields)}"
            )
        scores.append(Score(name, protocol, tuple(ways), ways=ways))
    drawn = Worst(worst, truth.fields, [score.name for score in scores[:-1]])
    keys: list[str] = []
    left_out = 0
    watch(0, truth.images)
    for sample in ahead(truth.each()):
        if span and not len(span.counted_m(sample)):
            left_out += 1
            continue
        for field in truth.fields:
            if not _told(sample, TARGETS[field]):
                raise BadSample(f"{truth.root}, sample {sample.key}", f"no pixel of it has {TARGETS[field]}")
        shown = span.shown(sample) if span else sample
        said = [answer(subject, shown.rgb, span is not None, flip) for subject in everybody]
        ones = [score.add(fields, shown) for score, fields in zip(scores, said, strict=True)]
        drawn.see(shown, said[:-1], ones[:-1])
        keys.append(sample.key)
        if len(keys) == LOOKED_AT and "depth" not in accept:
            _require_metres(scores)
        watch(len(keys) + left_out, truth.images)
    if not keys:
        raise DavidError(f"{truth.root}: no image of it has a true depth that counts")
    if len(keys) < LOOKED_AT and "depth" not in accept:
        _require_metres(scores)
    notes = [*protocol.notes, *_notes(benchmark, truth, len(keys), scores)]
    return Result(benchmark, truth, keys, scores, drawn.sheets(), notes)


def _told(sample: Sample, target: str) -> bool:
    return bool(sample.meta.get(IN_META)) if target == IN_META else bool(sample.valid(target).any())


def _require_metres(scores: Sequence[Score]) -> None:
    """Raise DavidError where what is given as metres falls where the true metres grow."""
    for score in scores[:-1]:
        agrees = [one for one in score.agrees if one == one]
        if score.ways.get("metric_depth_m") == "metric_depth_m" and agrees and np.median(agrees) < AGAINST:
            raise DavidError(
                f"{score.name}: what it says as metres falls where the true depth grows (correlation "
                f"{np.median(agrees):.2f} over {len(agrees)} pictures), as disparity does: is it the file of a "
                "relative network, loaded as a metric one? Load it as what it is; if its depth is merely bad, "
                "--accept depth"
            )


def _notes(benchmark: str, truth: Truth, measured: int, scores: Sequence[Score]) -> list[str]:
    notes, images = [f"Accepted: {doubt}." for doubt in truth.doubts], BENCHMARKS[benchmark].images
    if images and measured != images:
        notes.append(f"{benchmark} has {images:,} images, {measured:,} are here: these figures are not comparable.")
    for score in scores[:-1]:
        if score.mirrored:
            of = f"depth of {score.mirrored:,} of {measured:,} images"
            notes.append(f"{score.name}: {of} does not grow with distance, and counts as flat.")
    if left_out := truth.images - measured:
        what = ("image has", "is") if left_out == 1 else ("images have", "are")
        notes.append(f"{left_out:,} more {what[0]} no true depth that counts, and {what[1]} left out.")
    return notes


def unlike(names: Sequence[str]) -> list[str]:
    """The names, later ones with a number where they are there before."""
    made = []
    for place, name in enumerate(names):
        times = names[:place].count(name)
        made.append(f"{name} ({times + 1})" if times else name)
    return made
