"""Conventions are judged over many samples: odd ones pass, wrong ones are refused and named."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import people
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import changed, cm

from david.pack import BadSample
from david.pack.check import conventions, evidence
from david.pack.check.conventions import Seen
from david.pack.check.pixels import PixelCounts
from david.pack.shards.sample import Sample
from david.pack.shards.schema import FIELDS_V1
from david.pack.sources import synthhuman


def faults(seen: list[Seen]) -> list[str]:
    return [one.told for one in conventions.faults(seen, synthhuman.CHECKS)]


def examine(sample: Sample) -> tuple[Sample, PixelCounts, evidence.Evidence]:
    return evidence.examine(sample, FIELDS_V1)


@pytest.fixture(scope="module", params=["synthetic", "real"])
def persons(request: pytest.FixtureRequest) -> list[Sample]:
    folder = request.getfixturevalue({"synthetic": "raw", "real": "samples_dir"}[request.param])
    return list(itertools.islice(synthhuman.samples(folder), 4))


def seen(samples: list[Sample], change: Callable[[Sample], Sample] = lambda sample: sample) -> list[Seen]:
    """What is seen in the samples, changed."""
    found = []
    for sample in samples:
        try:
            found += [Seen(Path("X.zip"), examine(change(sample))[2])]
        except BadSample as error:
            found += [Seen(Path("X.zip"), None, error.reason)]
    return found


def test_right_conventions_pass(persons: list[Sample]) -> None:
    found = seen(persons)
    for times in (1, 40):
        assert faults(found * times) == []
    for one in found:
        assert one.evidence
        assert (one.evidence.normals_face_camera or 0) > 0.9
        assert min(one.evidence.normals_x_agrees or 1, one.evidence.normals_y_agrees or 1) > 0.75
        assert faults([one]) == []


@pytest.mark.parametrize("odd", people.ODD)
def test_an_odd_sample_passes_alone_and_among_others(odd: str, persons: list[Sample]) -> None:
    among = seen(persons) * 3
    for sample in persons[:3]:
        (one,) = seen([sample], people.ODD[odd])
        assert one.evidence, one.reason
        assert faults([*among, one]) == []


WHOLE_SETS = {
    "close-ups": people.close_up,
    "hair over everything": people.noisy,
    "alpha everywhere": people.ODD["alpha everywhere"],
    "silhouettes without normals": people.ODD["zero normals on the whole silhouette"],
    "five metres away": people.ODD["a depth of 5 m"],
}


@pytest.mark.parametrize("kind", WHOLE_SETS)
def test_a_set_of_nothing_but_odd_samples_passes(kind: str, persons: list[Sample]) -> None:
    found = seen(persons, WHOLE_SETS[kind])
    for times in (1, 40):
        assert faults(found * times) == []


WRONG_ORDERS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
    if (axes, signs) != ((0, 1, 2), (1, 1, 1))
]


def test_every_other_order_and_sign_of_the_channels_is_refused_and_named(persons: list[Sample]) -> None:
    told = set()
    for axes, signs in WRONG_ORDERS:
        wrong = seen(
            persons[:2],
            lambda s, axes=axes, signs=signs: changed(s, normals=s.normals[..., axes] * np.array(signs, np.float32)),
        )
        for times in (1, 20):
            (fault,) = faults(wrong * times)
            assert "it seems that" in fault, (axes, signs)
        told.add(fault.partition("it seems that")[2].partition(":")[0])
    assert len(told) == len(WRONG_ORDERS)


NAMED = {
    "normals' X and Z, channels B and R, are exchanged": lambda n: n[..., ::-1],
    "all normals are negated": lambda n: -n,
    "normals' X points left": lambda n: n * np.array([-1, 1, 1], np.float32),
    "normals' Y points down": lambda n: n * np.array([1, -1, 1], np.float32),
    "as OpenCV has it": lambda n: n * np.array([1, -1, -1], np.float32),
    "channels B, G, R hold Y, X, Z instead of X, Y, Z": lambda n: n[..., [1, 0, 2]],
}


@pytest.mark.parametrize("name", NAMED)
def test_a_wrong_order_is_named(name: str, persons: list[Sample]) -> None:
    (fault,) = faults(seen(persons, lambda s: changed(s, normals=NAMED[name](s.normals))))
    assert name in fault
    assert "X has the sign of the depth's slope on" in fault and len(fault) < 300


def _everywhere(sample: Sample, **values: np.ndarray) -> Sample:
    """Every pixel has a depth, as where the background is another value than SynthHuman's."""
    everywhere = np.ones_like(sample.depth_valid)
    return changed(sample, valid=everywhere, normals_valid=everywhere, **values)


def background(value: float) -> people.Change:
    return lambda s: _everywhere(s, depth_cm=np.where(s.depth_valid, cm(s), np.float32(value)))


WRONG: dict[str, tuple[people.Change, str]] = {
    "metres": (lambda s: changed(s, depth_cm=cm(s) / 100), "is it in metres"),
    "metres, the background too": (
        lambda s: _everywhere(s, depth_cm=np.where(s.depth_valid, cm(s), np.float32(65504)) / 100),
        "is the background not 65504",
    ),
    "millimetres": (lambda s: changed(s, depth_cm=cm(s) * 10), "is (it|depth) in (mm|millimetres)"),
    "micrometres": (lambda s: changed(s, depth_cm=cm(s) * 10_000), "is it in millimetres"),
    "inverse depth": (lambda s: changed(s, depth_cm=1 / cm(s)), "is it in metres, or inverse"),
    "depth that grows towards the camera": (
        lambda s: changed(s, depth_cm=np.nanmax(cm(s)[s.depth_valid]) + 100 - cm(s)),
        "depth grows towards the camera",
    ),
    "a background of 0": (background(0), "is the background not 65504"),
    "a background of 1000": (background(1000), "is the background not 65504"),
    "a background of 1e9": (background(1e9), "is the background not 65504"),
    "a background of infinity": (background(np.inf), "is the background not 65504"),
    "a background of NaN": (background(np.nan), "is the background not 65504"),
    "normals in 0 .. 1": (lambda s: changed(s, normals=(s.normals + 1) / 2), "of unit length|of length 1"),
    "normals twice as long": (lambda s: changed(s, normals=s.normals * 2), "the median length is 2"),
    "no normals": (lambda s: changed(s, normals=0 * s.normals), "the median length is 0"),
    "alpha inverted": (lambda s: changed(s, alpha=255 - s.alpha), "is it inverted"),
    "alpha in 0 .. 1": (lambda s: changed(s, alpha=s.alpha // 255), "alpha reaches 1 .* expected 255"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_unit_background_length_or_alpha_is_refused(wrong: str, persons: list[Sample]) -> None:
    change, told = WRONG[wrong]
    broken = seen(persons, change)
    for times in (4, 40):
        found = faults(broken * times)
        assert found
        assert re.search(told, "; ".join(found)), found


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 7), st.integers(0, 46), st.floats(0.5, 2), st.floats(0, 0.35), st.integers(0, 2**31))
def test_most_samples_decide_whatever_some_are(
    number: int, order: int, scale: float, share_odd: float, seed: int
) -> None:
    """A mixture: of right samples with some that are wrong in any way, and the other way round."""
    rng = np.random.default_rng(seed)
    axes, signs = WRONG_ORDERS[order]

    def one(right: bool) -> Seen:
        follows = np.clip(rng.normal([[0.88, 0.5, 0.5], [0.5, 0.86, 0.57], [0.5, 0.57, 0.95]], 0.06), 0, 1)
        if not right:
            follows = np.stack([f if s > 0 else 1 - f for f, s in zip(follows[list(axes)], signs, strict=True)])
        depth = 1.5 * scale
        return Seen(
            Path("X.zip"),
            evidence.Evidence(
                follows.astype(np.float32), 0.5, depth - 0.1, depth, depth + 0.3, 0.001, 1.0, 1.0, 0.4, 1.0, 0.02, 255
            ),
        )

    count = 8 + 8 * number
    odd = int(share_odd * count)
    assert faults([one(place >= odd) for place in range(count)]) == []
    assert faults([one(place < odd) for place in range(count)])


def test_a_sample_that_makes_no_sense_is_refused_with_what_it_holds(persons: list[Sample]) -> None:
    sample = persons[0]
    nowhere = np.zeros_like(sample.depth_valid)
    pixels, valid = f"{sample.depth_valid.size:,}", f"{np.count_nonzero(sample.depth_valid):,}"
    cases = (
        (changed(sample, valid=nowhere, normals_valid=nowhere), f"none of its {pixels} pixels has a depth"),
        (
            changed(sample, depth_cm=np.full_like(cm(sample), np.nan)),
            f"none of its {valid} pixels with a depth has one that makes sense: {valid} depth not finite",
        ),
        (
            changed(sample, depth_cm=-cm(sample)),
            f"none of its {valid} pixels with a depth has one that makes sense: {valid} depth not positive",
        ),
        (
            changed(sample, normals=0 * sample.normals),
            f"none of its {valid} pixels with a depth has a normal of length 1: {valid} normals zero",
        ),
    )
    for broken, told in cases:
        with pytest.raises(BadSample, match=told):
            examine(broken)


def test_slopes_are_compared_on_valid_normals_only(persons: list[Sample]) -> None:
    """Garbage where there is no normal changes no figure, whatever it is."""
    sample = persons[0]
    where = np.random.default_rng(0).random(sample.depth_valid.shape) < 0.05
    masked = changed(sample, normals_valid=sample.normals_valid & ~where)
    figures = [
        evidence.measure(changed(masked, normals=people.at(sample.normals, where, value)), 1).follows
        for value in (0, np.nan, -1e30, 1e30)
    ]
    assert all(np.array_equal(figures[0], one, equal_nan=True) for one in figures)
