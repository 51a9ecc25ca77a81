"""The geometry check tells right conventions from wrong ones, on synthetic people and on real ones."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from david.pack import geometry
from david.pack.errors import BadSample
from david.pack.schema import Sample
from david.pack.sources import synthhuman


@pytest.fixture(scope="module", params=["synthetic", "real"])
def people(request: pytest.FixtureRequest) -> list[Sample]:
    return list(synthhuman.samples(request.getfixturevalue({"synthetic": "raw", "real": "samples_dir"}[request.param])))


def test_right_conventions_pass(people: list[Sample]) -> None:
    for sample in people:
        seen = geometry.check(sample)
        assert seen.normals_face_camera > 0.9
        assert min(seen.normals_x_agrees or 1, seen.normals_y_agrees or 1) > 0.75


WRONG_NORMALS = {
    "R and B swapped": lambda n: n[..., ::-1],
    "negated": lambda n: -n,
    "X negated": lambda n: n * np.float32([-1, 1, 1]),
    "Y down": lambda n: n * np.float32([1, -1, 1]),
    "X and Y swapped": lambda n: n[..., [1, 0, 2]],
    "twice as long": lambda n: n * 2,
}


@pytest.mark.parametrize("wrong", WRONG_NORMALS)
def test_wrong_normals_are_refused_with_what_was_seen(people: list[Sample], wrong: str) -> None:
    told = []
    for sample in people:
        try:
            geometry.check(replace(sample, normals=np.ascontiguousarray(WRONG_NORMALS[wrong](sample.normals))))
        except BadSample as error:
            assert re.search(r"normals' [XYZ] .* on \d+% of the pixels|a normal of length 2.000", str(error))
            told.append(error)
    assert len(told) >= 0.9 * len(people)  # a person who leans just so looks the same with X and Y swapped


def test_metres_are_refused(people: list[Sample]) -> None:
    for sample in people:
        with pytest.raises(BadSample, match="median depth .* cm: another unit, such as metres"):
            geometry.check(replace(sample, depth_cm=sample.depth_cm / 100))
        whole = np.where(sample.valid, sample.depth_cm, 65504) / 100  # the background divided as well
        with pytest.raises(BadSample, match="no pixel has the background depth 65504; the largest is 655.04"):
            geometry.check(replace(sample, depth_cm=whole, valid=np.ones_like(sample.valid)))


def test_holes_in_values_are_refused(people: list[Sample]) -> None:
    sample = people[0]
    row, column = np.argwhere(sample.valid)[0]

    def at(array: np.ndarray, value: float) -> np.ndarray:
        array = array.copy()
        array[row, column] = value
        return array

    cases: Iterator[tuple[Sample, str]] = iter(
        [
            (replace(sample, depth_cm=at(sample.depth_cm, np.nan)), "1 depth pixels"),
            (replace(sample, depth_cm=at(sample.depth_cm, -3)), "1 depth pixels"),
            (replace(sample, normals=at(sample.normals, np.nan)), "1 normals are not finite"),
            (replace(sample, normals=at(sample.normals, 0)), "a normal of length 0.000"),
            (replace(sample, alpha=np.zeros_like(sample.alpha)), "alpha is above 0 on 0%"),
            (replace(sample, valid=np.zeros_like(sample.valid)), "no pixel has a valid depth"),
        ]
    )
    for broken, told in cases:
        with pytest.raises(BadSample, match=told):
            geometry.check(broken)
