"""Byte planes to values and what of them is valid: exact, the same on every device, background kept out."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.shards import codecs
from david.pack.shards.schema import FIELDS_V1, Field
from david.pipeline.engines import _planes, planes, planes_on_device
from david.pipeline.engines.layout import layout, relative
from david.pipeline.sampling import draws
from david.pipeline.sampling.placement import Fit, Placement, place

DEPTH, NORMALS = FIELDS_V1[2:]
STEPS = Field("steps", "u16-linear")
RANGE = {"offset_m": 2.5, "scale_m": 1.5, "step_m": 0.001}


def random_planes(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(5, H, W): depth with every kind of float16, normals with every kind of code; half is invalid, and of the rest a
    fifth has no normal."""
    rng = np.random.default_rng(seed)
    values = rng.integers(-0x8000, 0x8000, (height, width), np.int16).view(np.float16)
    values = np.where(rng.random((height, width)) < 0.4, np.float16(np.nan), values)
    values = np.where(rng.random((height, width)) < 0.1, np.float16(np.inf), values)
    u, v = rng.integers(0, 4095, (2, height, width)).astype(np.uint16)
    u[:, : width // 8], v[:, -width // 8 :] = 2047, 2047
    u[0], v[-1] = 0, 4094
    none = rng.random((height, width)) < 0.2
    u[none], v[none] = 4095, 4095
    normals = np.stack([(u >> 8 << 4) | (v >> 8), u & 255, v & 255]).astype(np.uint8)
    return np.concatenate([codecs.split_depth(values), normals])


def placed(
    source: tuple[int, int],
    target: tuple[int, int],
    flip: bool,
    kept: float = 1.0,
    angle: float = 0.0,
    fit: Fit = "stretch",
) -> Placement:
    one = draws.none(1)._replace(flip=np.array([flip]), kept=np.array([kept]), angle=np.array([angle]))
    return place(one, 0, source, target, fit)


def joined(stored: np.ndarray, placement: Placement) -> tuple[np.ndarray, ...]:
    """depth, valid, normals, normals_valid"""
    size = placement.target
    depth, valid, normals, normals_valid = (
        np.empty((*channels, *size), kind) for channels, kind in (((), "f2"), ((), "?"), ((3,), "f2"), ((), "?"))
    )
    plan = layout((DEPTH, NORMALS))
    planes.join(stored, placement, plan.program({}), (valid, depth, normals_valid, normals))
    return depth, valid, normals, normals_valid


@pytest.mark.parametrize("size", [(300, 257), (1, 40_000), (64, 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_joining_gives_what_the_codecs_give_to_the_bit(size: tuple[int, int], flip: bool) -> None:
    stored = random_planes(*size)
    depth, valid, normals, normals_valid = joined(stored, placed(size, size, flip))
    stored = stored[:, :, ::-1] if flip else stored
    values = codecs.join_depth(stored[:2])
    assert np.array_equal(valid, np.isfinite(values))  # sky is known, and no depth
    assert depth[valid].tobytes() == values[valid].tobytes()
    expected = codecs.join_normals(stored[2:]).astype(np.float16) * np.array([-1 if flip else 1, 1, 1], np.float16)
    assert np.array_equal(normals_valid, valid & codecs.known_normals(stored[2:]))
    assert 0 < np.count_nonzero(normals_valid) < np.count_nonzero(valid)
    assert np.array_equal(np.moveaxis(normals, 0, -1)[normals_valid], expected[normals_valid])
    assert not depth[~valid].any()
    assert not normals[:, ~normals_valid].any()


def test_whole_steps_come_relative_to_their_range_on_every_device() -> None:
    """Each of the 65,536 there are: what float64 says, rounded to float16; a hole and sky are invalid."""
    steps = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    stored = codecs.split_u16(steps)
    value, valid = np.empty((256, 256), np.float16), np.empty((256, 256), bool)
    plan, placement = layout((STEPS,)), placed((256, 256), (256, 256), False)
    planes.join(stored, placement, plan.program({"steps": RANGE}), (valid, value))
    assert np.array_equal(valid, (steps != 0) & (steps != 65_535))
    exact = np.where(valid, (steps * 0.001 - 2.5) / 1.5, 0)
    np.testing.assert_allclose(value, exact, rtol=6e-4, atol=1e-7)
    near = valid & (np.abs(exact) <= 1)
    assert (value[near] != exact[near].astype(np.float16)).mean() < 2e-3
    high, low = torch.from_numpy(stored).to(torch.int16)[:, None, None]
    known, there = planes_on_device.u16(high, low, torch.tensor([relative(RANGE)], dtype=torch.float32))
    assert known.masked_fill(~there, 0).numpy().tobytes() == value.tobytes()


@pytest.mark.parametrize(("size", "kept", "angle"), [((600, 900), 1, 0), ((200, 300), 0.7, 0), ((511, 333), 0.8, 0.3)])
def test_a_batch_on_a_device_is_placed_and_joined_to_the_same_bits(
    size: tuple[int, int], kept: float, angle: float
) -> None:
    sources = [(600, 900), (64, 48), (90, 700)]
    stored = [random_planes(*source, seed) for seed, source in enumerate(sources)]
    placements = [
        placed(source, size, flip, kept, angle, fit)
        for source, flip, fit in zip(sources, (True, False, True), ("stretch", "cover", "contain"), strict=True)
    ]
    largest = torch.zeros((3, max(one.size for one in stored)), dtype=torch.uint8)
    for row, one in zip(largest, stored, strict=True):
        row[: one.size] = torch.from_numpy(one.ravel())
    where = torch.from_numpy(np.stack([one.where() for one in placements]))
    pixels, within = planes_on_device.under(where, torch.tensor(sources), *size)
    starts = torch.arange(5)[:, None] * torch.tensor([h * w for h, w in sources])
    parts = [planes_on_device.gather(largest, start, pixels, within) for start in starts]
    turns = torch.tensor([(one.cosine, one.sine, one.mirror) for one in placements])
    high, low, tops, u, v = parts
    depth, valid = planes_on_device.f16(high, low)
    normals, known = planes_on_device.octahedral(tops, u, v, turns)
    known &= valid
    together = depth.masked_fill(~valid, 0), valid, normals.masked_fill(~known, 0), known
    for slot, placement in enumerate(placements):
        for one, expected in zip(together, joined(stored[slot], placement), strict=True):
            assert one[slot].numpy().tobytes() == expected.tobytes()
        assert np.array_equal(within[slot, 0].numpy(), planes.within(placement))
    assert within[:2].all() and not within[2].all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.booleans())
@settings(deadline=None, max_examples=100)
def test_placing_takes_the_pixel_under_each_centre(h: int, w: int, height: int, width: int, flip: bool) -> None:
    stored = np.random.default_rng(0).integers(0, 124, (5, h, w), np.uint8)  # depths that are all valid
    depth, *_ = joined(stored, placed((h, w), (height, width), flip))
    values = codecs.join_depth(stored[:2])
    for row in range(height):
        for column in range(width):
            seen = width - 1 - column if flip else column
            down, across = divmod((2 * row + 1) * h, 2 * height), divmod((2 * seen + 1) * w, 2 * width)
            if down[1] and across[1]:  # else the centre lies on an edge, which belongs to both
                assert depth[row, column] == values[down[0], across[0]]


STEP = struct.Struct("=iiiff")
WRONG = {
    "planes": lambda a: {**a, "planes": a["planes"][:, :, :4]},
    "h": lambda a: {**a, "h": 7},
    "H": lambda a: {**a, "H": 5},
    "W of 0": lambda a: {**a, "W": 0},
    "where": lambda a: {**a, "where": a["where"][:1]},
    "half a step": lambda a: {**a, "program": a["program"][:-1]},
    "no such coding": lambda a: {**a, "program": STEP.pack(4, 0, -1, 0, 0)},
    "a plane that is not there": lambda a: {**a, "program": STEP.pack(1, 1, -1, 0, 0)},
    "a plane before the first": lambda a: {**a, "program": STEP.pack(1, -1, -1, 0, 0)},
    "bound by itself": lambda a: {**a, "program": STEP.pack(1, 0, 0, 0, 0)},
    "more than planes hold": lambda a: {**a, "program": STEP.pack(3, 0, -1, 0, 0)},
    "too many steps": lambda a: {**a, "program": STEP.pack(0, 0, -1, 0, 0) * 65},
    "a value of another size": lambda a: {**a, "filled": (a["filled"][0], a["filled"][1][:3])},
    "a mask of another size": lambda a: {**a, "filled": (a["filled"][0][:3], a["filled"][1])},
    "one buffer too few": lambda a: {**a, "filled": a["filled"][:1]},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_buffers_that_do_not_fit_are_refused(wrong: str) -> None:
    right = {
        **{"planes": np.zeros((2, 6, 5), np.uint8), "P": 2, "h": 6, "w": 5},
        **{"where": placed((6, 5), (4, 3), False).where(), "cosine": 1.0, "sine": 0.0, "flip": False},
        **{"program": STEP.pack(1, 0, -1, 0, 0), "filled": (np.zeros((4, 3), bool), np.zeros((4, 3), np.float16))},
        **{"H": 4, "W": 3},
    }
    _planes.join(*right.values())
    given = WRONG[wrong](right)
    with pytest.raises(ValueError):
        _planes.join(*({**given, "planes": np.ascontiguousarray(given["planes"])}).values())
