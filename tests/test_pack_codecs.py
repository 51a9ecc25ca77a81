"""Promises of the shard format's codecs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from david.pack.errors import DavidError
from david.pack.shards import codecs

shapes = st.tuples(st.integers(1, 3), st.integers(1, 300), st.integers(1, 300))


@settings(max_examples=40, deadline=None)
@given(shapes, st.sampled_from(["lz4", "zstd"]), st.integers(0, 2**32 - 1), st.integers(1, 256))
def test_planes_come_back_byte_for_byte(shape: tuple[int, int, int], compression: str, seed: int, levels: int) -> None:
    planes = np.random.default_rng(seed).integers(0, levels, shape).astype(np.uint8)
    data = codecs.encode_planes(planes, compression)
    assert np.array_equal(codecs.decode_planes(data, *shape, compression), planes)
    out = np.full(shape, 77, np.uint8)
    assert codecs.decode_planes(data, *shape, compression, out=out) is out
    assert np.array_equal(out, planes)


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_member_that_is_cut_or_of_another_shape_is_a_named_error(compression: str) -> None:
    data = codecs.encode_planes(np.arange(3 * 64 * 64, dtype=np.uint8).reshape(3, 64, 64), compression)
    for damaged in (data[:3], data[:-1], data + b"x", bytes(4) + data[4:]):
        with pytest.raises(DavidError):
            codecs.decode_planes(damaged, 3, 64, 64, compression)
    with pytest.raises(DavidError):
        codecs.decode_planes(data, 3, 640, 640, compression)


finite = st.floats(-1, 1, width=32)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (7, 5, 3), elements=finite))
def test_normals_come_back_within_0_06_degrees(vectors: np.ndarray) -> None:
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    vectors = np.where(length > 1e-3, vectors, np.float32([0, 0, -1]))
    normals = (vectors / np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)).astype(np.float32)
    back = codecs.join_normals(codecs.split_normals(normals, np.ones((7, 5), bool)))
    sine = np.linalg.norm(np.cross(normals.astype(np.float64), back), axis=-1)
    assert np.degrees(np.arcsin(sine)).max() < 0.06
    assert ((normals * back).sum(-1) > 0).all()
    assert np.allclose(np.linalg.norm(back, axis=-1), 1, atol=1e-6)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (9, 13, 3), elements=finite), hnp.arrays(bool, (9, 13)), st.booleans())
def test_the_compiled_codes_are_those_of_the_formula(vectors: np.ndarray, valid: np.ndarray, planar: bool) -> None:
    vectors[np.abs(vectors).sum(-1) < 1e-3] = 1
    vectors = vectors / np.sqrt((vectors.astype(np.float64) ** 2).sum(-1, keepdims=True)).astype(np.float32)
    if planar:
        vectors = np.moveaxis(np.moveaxis(vectors, -1, 0).copy(), 0, -1)
    x, y, z = np.moveaxis(vectors, -1, 0)
    scale = np.float32(2047) / (np.abs(x) + np.abs(y) + np.abs(z))
    a, b = x * scale, y * scale
    folded = np.copysign(2047 - np.abs(b), a), np.copysign(2047 - np.abs(a), b)
    u, v = (np.rint(np.where(z < 0, fold, flat)).astype(int) + 2047 for fold, flat in zip(folded, (a, b), strict=True))
    u, v = np.where(valid, u, 4095), np.where(valid, v, 4095)
    expected = np.stack([u >> 8 << 4 | v >> 8, u & 255, v & 255])
    assert np.array_equal(codecs.split_normals(vectors, valid), expected)
    assert np.array_equal(codecs.known_normals(expected.astype(np.uint8)), valid)


ODD = [np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, 0.0, -0.0, 2.0, 0.5]


@settings(deadline=None)
@given(hnp.arrays(np.float32, (4, 17, 3), elements=st.one_of(st.sampled_from(ODD), finite)), hnp.arrays(bool, (4, 17)))
def test_what_is_no_unit_vector_is_no_normal_and_harms_no_other(vectors: np.ndarray, usual: np.ndarray) -> None:
    vectors[usual] = np.float32([0.6, 0, -0.8])
    planes = codecs.split_normals(vectors, np.ones((4, 17), bool))
    with np.errstate(all="ignore"):
        length = np.linalg.norm(vectors.astype(np.float64), axis=-1)
        known = codecs.known_normals(planes)
        assert known[usual].all()
        assert not known[~(np.abs(length - 1) < 0.0101)].any()
        assert known[np.abs(length - 1) < 0.0099].all()
    back = codecs.join_normals(planes)
    assert not back[~known].any()
    np.testing.assert_allclose(np.linalg.norm(back[known], axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(back[usual], np.broadcast_to([0.6, 0, -0.8], back[usual].shape), atol=1e-3)


def test_no_normal_has_the_code_of_none_nor_has_its_mirror_image() -> None:
    u, v = np.meshgrid(np.arange(4095), np.arange(4095))
    for across in (u, 4094 - u):
        planes = np.stack([across >> 8 << 4 | v >> 8, across & 255, v & 255]).astype(np.uint8)
        assert codecs.known_normals(planes).all()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_low_planes_are_packed_quickly_and_come_back(compression: str) -> None:
    words = np.random.default_rng(0).integers(0, 256, (300, 7)).astype(np.uint8)  # that only a search finds again
    text = words[np.random.default_rng(1).integers(0, 300, 64 * 1024 // 7 + 1)].reshape(-1)[: 64 * 1024]
    planes = np.broadcast_to(text.reshape(1, 64, 1024), (2, 64, 1024))
    searched, quick = (codecs.encode_planes(planes, compression, low) for low in (0, 1))
    sizes = [codecs.block_sizes(data, 2, 64, 1024) for data in (searched, quick)]
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    assert np.array_equal(codecs.decode_planes(quick, 2, 64, 1024, compression), planes)


def test_a_mirror_image_of_normals_is_exact() -> None:
    normals = np.random.default_rng(0).normal(size=(50, 40, 3))
    normals = (normals / np.linalg.norm(normals, axis=-1, keepdims=True)).astype(np.float32)
    valid, mirror = np.ones((50, 40), bool), np.float32([-1, 1, 1])
    straight = codecs.join_normals(codecs.split_normals(normals, valid))
    assert np.array_equal(codecs.join_normals(codecs.split_normals(normals * mirror, valid)), straight * mirror)


@settings(deadline=None)
@given(hnp.arrays(np.uint16, (9, 11)))
def test_every_float16_survives_its_planes(bits: np.ndarray) -> None:
    assert np.array_equal(codecs.join_depth(codecs.split_depth(bits.view(np.float16))).view(np.uint16), bits)


@settings(deadline=None)
@given(hnp.arrays(np.float32, (6, 8), elements=st.floats(1, 6000, width=32)), hnp.arrays(bool, (6, 8)))
def test_relative_depth_spans_one_and_comes_back_within_half_a_step(depth_cm: np.ndarray, valid: np.ndarray) -> None:
    valid = valid.copy()
    valid[0, 0] = True
    relative, offset_cm, scale_cm = codecs.normalise_depth(depth_cm, valid)
    assert np.array_equal(~np.isnan(relative), valid)
    assert np.abs(relative[valid]).max() <= 1
    back = relative.astype(np.float64) * scale_cm + offset_cm
    assert np.abs(back - depth_cm)[valid].max() <= scale_cm * 2**-12 * 1.001


DEPTHS = st.one_of(
    st.floats(1, 6000, width=32),
    st.floats(100, 100.0625, width=32),  # so close to one another that float16's subnormals are reached
)


@settings(deadline=None, max_examples=300)
@given(hnp.arrays(np.float32, (5, 67), elements=DEPTHS), hnp.arrays(bool, (5, 67)))
def test_relative_depth_is_the_slow_twins_to_the_bit(depth_cm: np.ndarray, valid: np.ndarray) -> None:
    valid = valid.copy()
    valid[0, 0] = True
    depth_cm = np.where(valid, depth_cm, np.float32(np.nan))
    depths = depth_cm[valid].astype(np.float64)
    middle, half_range = (depths.min() + depths.max()) / 2, (depths.max() - depths.min()) / 2 or 1.0
    expected = np.full(depth_cm.shape, np.nan, np.float16)
    expected[valid] = (depths - middle) / half_range
    relative, offset_cm, scale_cm = codecs.normalise_depth(depth_cm, valid)
    assert (offset_cm, scale_cm) == (middle, half_range)
    assert relative.tobytes() == expected.tobytes()


@pytest.mark.parametrize("end", [2**24, 2**27])
def test_relative_depth_rounds_to_the_nearest_float16_halves_to_even(end: int) -> None:
    """Depths are whole, so relative depth is exactly a multiple of 1 / end: of 1 / 8 of a subnormal's step too."""
    depth_cm = np.concatenate([np.arange(-end, end, end // 8192 + 1), np.arange(-9000, 9000), [end]]).astype(np.float32)
    depth_cm = depth_cm[None]
    relative, offset_cm, scale_cm = codecs.normalise_depth(depth_cm, np.ones(depth_cm.shape, bool))
    assert (offset_cm, scale_cm) == (0, end)
    assert relative.tobytes() == (depth_cm.astype(np.float64) / end).astype(np.float16).tobytes()


def test_depth_without_a_valid_pixel_is_refused() -> None:
    with pytest.raises(DavidError, match="no pixel has a valid depth"):
        codecs.normalise_depth(np.ones((4, 4), np.float32), np.zeros((4, 4), bool))


def test_lossless_images_are_exact_and_jpegs_are_not_images_of_nothing() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    assert np.array_equal(codecs.decode_rgb(codecs.encode_rgb(rgb, "webp")), rgb)
    with pytest.raises(DavidError, match="no image"):
        codecs.decode_rgb(b"\xff\xd8 not a jpeg")
