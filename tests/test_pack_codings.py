"""Each coding holds what it promises, and a sample may lack what its set has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from david.pack import DavidError, Sample
from david.pack.shards import codings, manifest, shard
from david.pack.shards.schema import CODINGS, RGB, Field

FIELDS = (
    RGB,
    Field("hair", "u8"),
    Field("depth", "u16-linear"),
    Field("far", "f16-affine"),
    Field("normals", "octahedral-12"),
)
SHAPE = (9, 14)
BLACK = np.zeros((*SHAPE, 3), np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    hnp.arrays(np.uint16, SHAPE, elements=st.one_of(st.sampled_from([0, 1, 65534, 65535]), st.integers(0, 65535))),
    st.sampled_from([0.001, 0.0002, 1 / 256, 0.01, 1.0]),
    st.sampled_from(["lz4", "zstd"]),
)
def test_whole_steps_come_back_exactly(steps: np.ndarray, step_m: float, compression: str) -> None:
    known, sky = (steps != 0) & (steps != 65535), steps == 65535
    stored = np.where(known, steps, np.where(sky, np.inf, np.nan)).astype(np.float32)
    sample = Sample("a", BLACK, {"depth": stored}, {"depth": known}, step_m=step_m)
    fields = (RGB, Field("depth", "u16-linear"))
    back = shard.decode(shard.encode(sample, "jpeg", compression, fields), compression, fields)
    assert np.array_equal(back.depth_valid, known)
    assert np.array_equal(np.isposinf(back.depth_m), sky) and np.isnan(back.depth_m[steps == 0]).all()
    assert np.array_equal(np.rint(back.depth_m[known] / step_m), steps[known])
    about = shard.decode_about(shard.encode(sample, "jpeg", compression, fields)[-1])
    if known.any():
        told = about["fields"]["depth"]
        relative = (back.depth_m[known].astype(np.float64) - told["offset_m"]) / told["scale_m"]
        assert np.abs(relative).max() <= 1 + 1e-6 and told["step_m"] == step_m


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(bool, SHAPE), hnp.arrays(bool, SHAPE), st.floats(0.1, 1e4), st.floats(1e-3, 1e3))
def test_relative_depth_keeps_sky_unknown_and_values(
    known: np.ndarray, sky: np.ndarray, near: float, span: float
) -> None:
    sky = sky & ~known
    depth = np.linspace(near, near + span, known.size, dtype=np.float32).reshape(SHAPE)
    stored = np.where(known, depth, np.where(sky, np.float32(np.inf), np.float32(np.nan)))
    planes, about = codings.split("f16-affine", stored, known, 1.0)
    if planes is None:
        assert not (known | sky).any()
        return
    value, mask = codings.join("f16-affine", planes, about)
    assert np.array_equal(mask, known) and np.array_equal(np.isposinf(value), sky)
    limit = (span * 2**-12 + np.spacing(np.float32(near + span))) * 1.01
    assert np.abs(value.astype(np.float64) - depth)[known].max(initial=0) <= limit


def test_a_sample_without_a_field_has_a_member_of_no_bytes_and_is_valid_nowhere() -> None:
    steps = np.full(SHAPE, 7, np.float32)
    sample = Sample("a", BLACK, {"depth": steps}, {"depth": np.ones(SHAPE, bool)}, step_m=0.5)
    members = shard.encode(sample, "jpeg", "lz4", FIELDS)
    assert [len(one) == 0 for one in members] == [False, True, False, True, True, False]
    back = shard.decode(members, "lz4", FIELDS)
    assert (back.depth_m == 3.5).all() and back.depth_valid.all()
    for name in ("hair", "far", "normals"):
        assert not back.valid(name).any()
    assert shard.decode_about(members[-1])["fields"] == {"depth": {"offset_m": 3.5, "scale_m": 0.5, "step_m": 0.5}}


def test_asking_for_what_is_not_there_says_what_is() -> None:
    sample = Sample("x7", BLACK, {"depth": np.ones(SHAPE, np.float32)}, {"depth": np.ones(SHAPE, bool)})
    with pytest.raises(DavidError, match="sample x7: has no normals; there is rgb, depth"):
        _ = sample.normals
    with pytest.raises(DavidError, match="has no hair"):
        sample.valid("hair")


@pytest.mark.parametrize(("value", "told"), [(0.0, "from 0 to 7"), (65535.0, "to 65535"), (-3.0, "from -3")])
def test_steps_that_do_not_fit_are_refused(value: float, told: str) -> None:
    steps = np.full(SHAPE, 7, np.float32)
    steps[3, 3] = value
    with pytest.raises(DavidError, match=told):
        codings.split("u16-linear", steps, np.ones(SHAPE, bool), 1.0)


def test_a_bounded_field_is_valid_only_where_the_other_is() -> None:
    fields = (RGB, Field("depth", "f16-affine"), Field("normals", "octahedral-12", within="depth"))
    deep, facing = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    deep[:, :5], facing[2] = True, False
    up = np.tile(np.float32([0, 0, 1]), (*SHAPE, 1))
    sample = Sample(
        "a", BLACK, {"depth": np.ones(SHAPE, np.float32), "normals": up}, {"depth": deep, "normals": facing}
    )
    members = shard.encode(sample, "jpeg", "lz4", fields)
    back = shard.decode(members, "lz4", fields)
    assert np.array_equal(back.depth_valid, deep) and np.array_equal(back.normals_valid, deep & facing)
    alone = (*fields[:2], Field("normals", "octahedral-12"))
    assert np.array_equal(shard.decode(members, "lz4", alone).normals_valid, deep & facing)
    back = shard.decode(shard.encode(sample, "jpeg", "lz4", alone), "lz4", alone)
    assert np.array_equal(back.normals_valid, facing)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "expected rgb"),
        ([{"name": "depth", "coding": "u8"}], "expected rgb"),
        ([{"name": "rgb", "coding": "image"}, {"name": "depth", "coding": "u9"}], "this david reads u8, f16-affine"),
        ([{"name": "rgb", "coding": "image"}, {"name": "../x", "coding": "u8"}], "name is not as expected"),
        ([{"name": "rgb", "coding": "image"}, {"name": "a", "coding": "u8", "within": "b"}], "no field before it"),
        ([{"name": "rgb", "coding": "image"}] * 2, "expected rgb"),
    ],
)
def test_a_table_of_fields_that_is_none_is_refused(rows: list[dict], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        manifest.parse_fields(rows)


def test_every_coding_is_described_and_has_its_functions() -> None:
    from david.pack.shards import schema

    for name, coding in CODINGS.items():
        assert f"| `{name}`" in (schema.__doc__ or "")
        assert (coding.planes == 0) == (name == "image") and coding.low < max(coding.planes, 1)
