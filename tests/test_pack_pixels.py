"""An odd pixel is invalid by itself, is counted, and harms no other; surfaces stay."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from people import changed, cm, made

from david.pack.check import pixels
from david.pack.check.pixels import PixelCounts
from david.pack.shards import shard
from david.pack.shards.sample import Sample
from david.pack.shards.schema import FIELDS_V1
from david.pack.sources import synthhuman

SIZE = 48, 40
OUTLYING = (1e-30, 0.01, 1.0, 3000.0, 65503.0, 1e30, 3e38)  # in a face at 135 to 159 cm
UNIT = np.float32([0, 0.6, 0.8])


def clean(sample: Sample) -> tuple[Sample, PixelCounts]:
    return pixels.clean(sample, FIELDS_V1)


def sample_of(depth_cm: np.ndarray, valid: np.ndarray | None = None) -> Sample:
    """Valid where given, else everywhere; all else is as plain as can be."""
    valid = np.ones(depth_cm.shape, bool) if valid is None else valid
    rgb = np.zeros((*depth_cm.shape, 3), np.uint8)
    normals = np.broadcast_to(UNIT, (*depth_cm.shape, 3)).copy()
    return made("a", rgb, rgb[..., 0], depth_cm.astype(np.float32), normals, valid, valid.copy(), None)


def face(size: tuple[int, int] = SIZE, near: float = 135.0, far: float = 159.0, seed: int = 0) -> np.ndarray:
    """Half of an ellipsoid that fills the frame, with a little noise, (H, W) float64."""
    y, x = (np.linspace(-1, 1, count) for count in size)
    bulge = 1 - np.sqrt(np.maximum(1 - (y[:, None] ** 2 + x**2) / 2, 0))
    return near + (far - near) * (bulge + 0.002 * np.random.default_rng(seed).random(size))


def back(sample: Sample) -> Sample:
    return shard.decode(shard.encode(sample, "jpeg", "lz4"), "lz4")


def slowly_cleaned(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """`valid` and `normals_valid` as the module's text has them, pixel after pixel; none is subsampled."""
    height, width = sample.depth_valid.shape
    depth, valid = cm(sample).astype(np.float64), np.zeros((height, width), bool)
    for place in np.ndindex(height, width):
        valid[place] = sample.depth_valid[place] and np.isfinite(depth[place]) and depth[place] > 0
    ordered = np.sort(depth[valid])
    if ordered.size >= 16:
        tail = max(1, int(0.01 * ordered.size))
        low, median, high = ordered[tail], ordered[ordered.size // 2], ordered[-1 - tail]
        span = max(high - low, median * 2.0**-14)
        outlying = []
        for row, column in np.argwhere(valid & ((depth < low - span) | (depth > high + span))):
            own = depth[row, column]
            half = (low - own if own < low else own - high) / 2
            near = slice(max(0, row - 2), row + 3), slice(max(0, column - 2), column + 3)
            companions = sum(abs(other - own) <= half for other in depth[near][valid[near]])
            if companions < 9 or not median / 100 <= own <= median * 100:
                outlying.append((row, column))
        for place in outlying:
            valid[place] = False
    normals_valid = np.zeros((height, width), bool)
    for place in np.ndindex(height, width):
        length = np.linalg.norm(sample.normals[place].astype(np.float64))
        normals_valid[place] = valid[place] and sample.normals_valid[place] and abs(length - 1) <= 0.01
    return valid, normals_valid


ODD_DEPTHS = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 1e30, 65503.0, 3000.0, 0.01, 140.0, 500.0])
ODD_NORMALS = st.sampled_from([[0, 0, 0], [np.nan, 0, 1], [np.inf, 0, 0], [0, 0, 2], [0, 0, 0.5], [0, 1e30, 0]])
PLACES = st.tuples(st.integers(0, SIZE[0] - 1), st.integers(0, SIZE[1] - 1), st.integers(1, 5), st.integers(1, 5))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(PLACES, ODD_DEPTHS), max_size=8),
    st.lists(st.tuples(PLACES, ODD_NORMALS), max_size=4),
    hnp.arrays(bool, SIZE, elements=st.booleans(), fill=st.just(True)),
)
def test_pixels_are_judged_as_the_slow_twin_judges_them(depths: list, normals: list, valid: np.ndarray) -> None:
    sample = sample_of(face(), valid)
    for (row, column, height, width), value in depths:
        cm(sample)[row : row + height, column : column + width] = value
    for (row, column, height, width), value in normals:
        sample.normals[row : row + height, column : column + width] = value
    before = sample.depth_valid.copy(), cm(sample).copy()
    cleaned, counts = clean(sample)
    with np.errstate(all="ignore"):
        expected = slowly_cleaned(sample)
    assert np.array_equal(cleaned.depth_valid, expected[0])
    assert np.array_equal(cleaned.normals_valid, expected[1])
    assert np.array_equal(sample.depth_valid, before[0]) and np.array_equal(cm(sample), before[1], equal_nan=True)
    assert counts.valid == np.count_nonzero(valid)
    lost = counts.depth_not_finite + counts.depth_not_positive + counts.depth_outlying
    assert lost == np.count_nonzero(valid) - np.count_nonzero(expected[0])
    assert counts.odd == np.count_nonzero(valid) - np.count_nonzero(expected[1])
    if expected[0].any():
        again = back(cleaned)
        assert np.array_equal(again.depth_valid, expected[0])
        assert np.array_equal(again.normals_valid, expected[1])
        assert clean(again)[1].normals_zero == 0


@settings(deadline=None, max_examples=150)
@given(
    st.floats(0.5, 2e4),
    st.one_of(st.just(0.0), st.floats(1e-8, 3)),
    st.floats(2.0**-126, 2.0**127, width=32),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@example(135.0, 24 / 135, 3000.0, 0, True)
@example(135.0, 24 / 135, 65503.0, 0, True)
@example(135.0, 24 / 135, 1e30, 0, False)
@example(150.0, 0.0, 150.01, 0, True)
def test_whatever_one_pixel_is_all_others_come_back_within_a_4000th_of_their_range(
    near: float, depth: float, odd: float, seed: int, curved: bool
) -> None:
    """near: of a scene as deep as near * depth, from a flat wall on"""
    rng = np.random.default_rng(seed)
    scene = face(near=near, far=near * (1 + depth), seed=seed) if curved else near * (1 + depth * rng.random(SIZE))
    sample = sample_of(scene)
    place = tuple(rng.integers(0, SIZE))
    others = np.ones(SIZE, bool)
    others[place] = False
    cm(sample)[place] = np.float32(odd)
    cleaned, _ = clean(sample)
    decoded = back(cleaned)
    truth = sample.depth_m.astype(np.float64)
    error = np.abs(decoded.depth_m - truth)
    kept = cleaned.depth_valid & others
    assert error[kept].max() <= np.ptp(truth[kept]) / 4000 + np.spacing(np.float32(truth[kept].max()))
    assert np.count_nonzero(others & ~cleaned.depth_valid) <= 0.01 * others.size


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(OUTLYING), min_size=1, max_size=15), st.integers(0, 2**32 - 1))
def test_absurd_pixels_are_thrown_out_and_the_body_comes_back(values: list[float], seed: int) -> None:
    sample = sample_of(face())
    rng, odd = np.random.default_rng(seed), np.zeros(SIZE, bool)
    for place, value in zip(rng.choice(odd.size, len(values), replace=False), values, strict=True):
        cm(sample).ravel()[place], odd.ravel()[place] = value, True
    cleaned, counts = clean(sample)
    assert np.array_equal(cleaned.depth_valid, ~odd)
    assert np.array_equal(cleaned.normals_valid, ~odd)
    assert counts == PixelCounts(valid=odd.size, depth_outlying=len(values))
    error = np.abs(cm(back(cleaned)) - cm(sample))[~odd]
    assert error.max() <= np.ptp(cm(sample)[~odd]) / 4000


def disc(size: tuple[int, int], row: int, column: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


LARGE = 512, 384
LIT = np.random.default_rng(0).random(LARGE)
SQUARE = np.outer(np.arange(512) // 3 == 9, np.arange(384) // 3 == 9)
SURFACES = {
    "a ball five metres behind a body": lambda: np.where(disc(LARGE, 90, 300, 6), 500, face(LARGE, 210, 250)),
    "a hand before the lens": lambda: np.where(disc(LARGE, 400, 40, 9), 22, face(LARGE, 150, 170)),
    "depths from 20 to 3000 cm": lambda: np.geomspace(20, 3000, 512 * 384).reshape(LARGE),
    "two bodies": lambda: np.where(np.arange(384) < 60, face(LARGE, 90, 110), face(LARGE, 900, 940)),
    "a small one far behind a large one": lambda: np.where(disc(LARGE, 30, 30, 12), 2900, face(LARGE, 50, 65)),
    "a square of nine pixels": lambda: np.where(SQUARE, 400, face(LARGE)),
    "noise": lambda: np.random.default_rng(0).normal(200, 20, LARGE),
    "even noise": lambda: 20 + 2980 * LIT,
    "a flat wall": lambda: np.full(LARGE, 150.0),
    "a wall with steps of a float": lambda: (
        150 + np.spacing(np.float32(150)) * (np.random.default_rng(0).random(LARGE) < 0.004)
    ),
    "a floor that runs away": lambda: np.repeat(100 / np.linspace(1, 0.02, 512), 384).reshape(LARGE),
}


@pytest.mark.parametrize("name", SURFACES)
def test_surfaces_stay_whole(name: str) -> None:
    sample = sample_of(SURFACES[name]())
    cleaned, counts = clean(sample)
    assert cleaned is sample
    assert counts == PixelCounts(valid=sample.depth_valid.size)
    error = np.abs(cm(back(cleaned)) - cm(sample))
    assert error.max() <= np.ptp(cm(sample)) / 4000


def test_300_valid_pixels_stay_but_for_one_that_is_absurd() -> None:
    valid = np.zeros(LARGE, bool)
    valid[100:115, 50:70] = True
    sample = sample_of(face(LARGE), valid)
    assert clean(sample)[0] is sample
    cm(sample)[107, 60] = 65503
    assert clean(sample)[1] == PixelCounts(valid=300, depth_outlying=1)


def test_what_is_more_than_a_hundredth_is_a_surface() -> None:
    sample = sample_of(face(LARGE))
    scattered = np.random.default_rng(0).random(LARGE)
    cm(sample)[scattered < 0.02] = 3000
    assert clean(sample)[1].depth_outlying == 0
    sample = sample_of(np.where(scattered < 0.005, 3000, face(LARGE)))
    assert np.array_equal(clean(sample)[0].depth_valid, scattered >= 0.005)


def test_silhouettes_that_were_blended_with_the_background_are_thrown_out() -> None:
    inside, ring = disc(LARGE, 256, 192, 180), disc(LARGE, 256, 192, 180.7) & ~disc(LARGE, 256, 192, 180)
    share = np.random.default_rng(0).uniform(0.1, 1, LARGE)
    sample = sample_of(np.where(ring, 150 + 65354 * share, face(LARGE)), inside | ring)
    assert 0 < np.count_nonzero(ring) < 0.01 * np.count_nonzero(inside)
    assert np.array_equal(clean(sample)[0].depth_valid, inside)


def test_each_oddity_is_counted_by_its_name() -> None:
    sample = sample_of(face())
    for column, depth in enumerate((np.nan, np.inf, -np.inf, 0, -150, 65503)):
        cm(sample)[0, column] = depth
        sample.normals[0, column] = 0  # of what has no depth nothing more is said
    for column, normal in enumerate(
        ([0, 0, 0], [0, np.nan, 1], [-np.inf, 0, 0], [0, 0, 2], [0, 0, 0.9], [1e-30, 0, 0])
    ):
        sample.normals[9, column] = normal
    cleaned, counts = clean(sample)
    expected = PixelCounts(sample.depth_valid.size, 3, 2, 1, 2, 1, 3)
    assert counts == expected
    assert counts.odd == 12
    assert counts + counts == PixelCounts(*(2 * value for value in expected.as_json().values()))
    assert PixelCounts.from_json(counts.as_json()) == counts
    assert not cleaned.depth_valid[0, :6].any() and cleaned.depth_valid.sum() == sample.depth_valid.size - 6
    assert np.isnan(cm(cleaned)[0, :6]).all()
    assert cleaned.depth_valid[9, :6].all() and not cleaned.normals_valid[9, :6].any()
    assert cleaned.normals_valid.sum() == sample.depth_valid.size - 12


def test_a_sample_may_end_without_a_valid_pixel() -> None:
    sample = sample_of(np.full(SIZE, np.nan))
    cleaned, counts = clean(sample)
    assert not cleaned.depth_valid.any() and not cleaned.normals_valid.any()
    assert counts == PixelCounts(sample.depth_valid.size, depth_not_finite=sample.depth_valid.size)
    nothing = changed(sample, valid=cleaned.depth_valid, normals_valid=cleaned.depth_valid)
    assert clean(nothing) == (nothing, PixelCounts())


@pytest.mark.parametrize("data", ["raw", "samples_dir"])
def test_people_lose_no_pixel(data: str, request: pytest.FixtureRequest) -> None:
    for sample in synthhuman.samples(request.getfixturevalue(data)):
        assert clean(sample) == (sample, PixelCounts(int(sample.depth_valid.sum())))
