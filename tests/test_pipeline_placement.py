"""Where pixels come from: nothing is bent unless it is asked for, and cameras see what their images show."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack import DavidError
from david.pipeline.config import DataConfig
from david.pipeline.engines import planes
from david.pipeline.sampling import draws
from david.pipeline.sampling.placement import Fit, Placement, cameras, place
from david.train import recipe as forms
from david.train import recipes

CAMERA = np.array([[500.0, 0, 180], [0, 500, 260], [0, 0, 1]])
SIDES = st.integers(1, 700)
SIZES = st.tuples(SIDES, SIDES)


def drawn(**values: object) -> draws.Draws:
    return draws.none(1)._replace(**{name: np.array([value]) for name, value in values.items()})


MOVES = st.builds(
    drawn,
    angle=st.floats(-0.7, 0.7),
    kept=st.floats(0.2, 1),
    right=st.floats(-1, 1),
    below=st.floats(-1, 1),
    flip=st.booleans(),
)


def corners(placement: Placement) -> np.ndarray:
    """(2, 4): the columns and rows of the sample under the batch's corners."""
    height, width = placement.target
    return placement.matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])


@pytest.mark.parametrize("angle", [-0.3, 0.0, 0.25])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
def test_a_turned_camera_sees_the_turned_world(angle: float, flip: bool, fit: Fit) -> None:
    one = drawn(angle=angle, flip=flip, kept=0.7, right=0.4, below=-0.8)
    placement = place(one, 0, (512, 384), (256, 300), fit)
    point = np.array([12.0, -9, 100])  # X right, Y down, Z away, as pixels run
    seen = np.linalg.solve(np.vstack([placement.matrix, [0, 0, 1]]), CAMERA @ point / point[2])
    c, s = placement.cosine, placement.sine
    x, up = point[0] * c - -point[1] * s, point[0] * s + -point[1] * c  # X and Y (up), as normals turn
    world = np.array([-x if flip else x, -up, point[2]])
    moved = cameras([placement], CAMERA[None])[0]
    np.testing.assert_allclose(moved @ world / world[2], seen, rtol=1e-9)
    np.testing.assert_allclose([moved[0, 1], moved[1, 0]], 0, atol=1e-9)
    assert moved[0, 0] > 0 and moved[1, 1] > 0
    assert (fit == "stretch") != np.isclose(moved[0, 0], moved[1, 1])


@given(SIZES, SIZES, MOVES, st.sampled_from(["cover", "contain"]))
@settings(deadline=None, max_examples=200)
def test_neither_cover_nor_contain_bends(
    source: tuple[int, int], target: tuple[int, int], one: draws.Draws, fit: Fit
) -> None:
    (moved,) = cameras([place(one, 0, source, target, fit)], CAMERA[None])
    np.testing.assert_allclose(moved[0, 0], moved[1, 1], rtol=1e-9)
    np.testing.assert_allclose([moved[0, 1], moved[1, 0]], 0, atol=1e-6 * moved[0, 0])


@given(SIZES, SIZES, MOVES, st.sampled_from(["cover", "stretch"]))
@settings(deadline=None, max_examples=200)
def test_cover_and_stretch_stay_within_their_sample(
    source: tuple[int, int], target: tuple[int, int], one: draws.Draws, fit: Fit
) -> None:
    placement = place(one, 0, source, target, fit)
    reached = corners(placement)
    assert (reached >= -1e-9).all()
    assert (reached <= np.array([source[1], source[0]])[:, None] + 1e-9).all()
    assert not placement.beyond


@given(SIZES, SIZES, st.booleans())
@settings(deadline=None, max_examples=200)
def test_cover_cuts_and_contain_pads_one_side_alone(
    source: tuple[int, int], target: tuple[int, int], flip: bool
) -> None:
    (h, w), (height, width) = source, target
    spans = {}
    for fit in ("cover", "contain", "stretch"):
        placement = place(drawn(flip=flip), 0, source, target, fit)
        columns, rows = corners(placement)
        spans[fit] = np.ptp(columns), np.ptp(rows)
        for span, side, samples in zip(spans[fit][::-1], target, placement.samples, strict=True):
            assert span / side <= samples + 1e-9 and samples - 1 < span / side + 1e-9  # no pixel is skipped
        np.testing.assert_allclose([columns.mean(), rows.mean()], [w / 2, h / 2])  # undrawn, it is the middle
    np.testing.assert_allclose(spans["stretch"], (w, h))
    scale_cover, scale_contain = min(w / width, h / height), max(w / width, h / height)
    np.testing.assert_allclose(spans["cover"], np.array([width, height]) * scale_cover)
    np.testing.assert_allclose(spans["contain"], np.array([width, height]) * scale_contain)


@given(SIZES, st.integers(1, 9), st.integers(1, 9), MOVES)
@settings(deadline=None, max_examples=100)
def test_where_shapes_agree_all_fits_are_one_to_the_bit(
    shape: tuple[int, int], one: int, other: int, moves: draws.Draws
) -> None:
    source, target = ((shape[0] * times, shape[1] * times) for times in (one, other))
    cover, contain, stretch = (place(moves, 0, source, target, fit) for fit in ("cover", "contain", "stretch"))
    for same in (cover, contain):
        assert same.matrix.tobytes() == stretch.matrix.tobytes() and same[3:] == stretch[3:]
    assert not contain.beyond


@given(SIZES, st.tuples(st.integers(1, 60), st.integers(1, 60)), MOVES)
@settings(deadline=None, max_examples=100)
def test_what_contain_shows_beyond_the_sample_is_known(
    source: tuple[int, int], target: tuple[int, int], one: draws.Draws
) -> None:
    placement = place(one, 0, source, target, "contain")
    height, width = target
    y, x = np.mgrid[:height, :width] + 0.5
    columns, rows = np.einsum("ij,jyx->iyx", placement.matrix, np.stack([x, y, np.ones_like(x)]))
    edge = np.minimum(np.minimum(columns, source[1] - columns), np.minimum(rows, source[0] - rows))
    within = planes.within(placement)
    assert within[edge > 1e-6].all() and not within[edge < -1e-6].any()
    assert placement.beyond == (not within.all())


def test_fits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(DavidError, match=r"fit is 'crop'; it must be 'cover', 'contain', 'stretch', 'own'"):
        DataConfig(fit="crop")  # type: ignore[arg-type]
    with pytest.raises(DavidError, match="fit is `contain` and height is None"):
        DataConfig(fit="contain")
    with pytest.raises(DavidError, match="fit is `own` and height is 9"):
        DataConfig(height=9, width=9, fit="own")


def test_content_is_what_it_was_before_there_were_fits() -> None:
    """Then SynthHuman was all there was, and stretched."""
    assert "fit" not in DataConfig(height=64, width=48).content()
    assert "fit" not in DataConfig(height=9, width=9, fit="stretch").content()
    assert DataConfig(fit="own").content() == DataConfig().content()
    assert DataConfig(height=9, width=9).content()["fit"] == "cover"
    assert DataConfig(height=64, width=48, fit="stretch").content()["fit"] == "stretch"


@pytest.mark.parametrize(("size", "fit"), [((512, 384), "cover"), ((224, 224), "stretch"), ((None, None), "cover")])
def test_a_recipe_of_before_places_its_samples_as_before(size: tuple[int | None, int | None], fit: Fit) -> None:
    stored = forms.to_json(recipes.recipe("smoke"))
    stored["data"] |= {"height": size[0], "width": size[1]}
    del stored["data"]["fit"]
    data = forms.from_json(stored).data
    assert data.fit == fit and "fit" not in data.content()
