"""Byte planes to values and what of them is valid: exact, the same on every device, background kept out."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.errors import DavidError
from david.pack.shards import codecs, codings
from david.pack.shards.schema import FIELDS_V1, Field
from david.pipeline.engines import _planes, planes, planes_on_device
from david.pipeline.engines.layout import constants, layout
from david.pipeline.reading import members
from david.pipeline.sampling import draws
from david.pipeline.sampling.placement import Fit, Placement, place

DEPTH, NORMALS = FIELDS_V1[2:]
STEPS = Field("steps", "u16-linear")
SAID = Field("said", "f16-relative")
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
    known, there = planes_on_device.u16(high, low, torch.tensor([constants("u16-linear", RANGE)], dtype=torch.float32))
    assert known.masked_fill(~there, 0).numpy().tobytes() == value.tobytes()


def test_what_has_no_unit_comes_as_the_same_float32_on_every_device_and_from_a_reader() -> None:
    """Each of the 65,536 there are, the smallest among them: one product and one sum."""
    stored = codecs.split_u16(np.arange(65_536, dtype=np.uint16).reshape(256, 256))
    value, valid = np.empty((256, 256), np.float32), np.empty((256, 256), bool)
    about = {"offset": 7.3, "scale": 0.7}
    plan, placement = layout((SAID,)), placed((256, 256), (256, 256), False)
    planes.join(stored, placement, plan.program({"said": about}), (valid, value))
    relative = codecs.join_depth(stored)
    assert np.array_equal(valid, np.isfinite(relative))
    expected = relative.astype(np.float32) * np.float32(0.7) + np.float32(7.3)
    assert value.tobytes() == np.where(valid, expected, 0).astype(np.float32).tobytes()
    read, known = codings.join("f16-relative", stored, about)
    assert np.array_equal(known, valid) and read[known].tobytes() == value[known].tobytes()
    high, low = torch.from_numpy(stored).to(torch.int16)[:, None, None]
    ranges = torch.tensor([constants("f16-relative", about)], dtype=torch.float32)
    there, mask = planes_on_device.relative(high, low, ranges)
    assert there.masked_fill(~mask, 0).numpy().tobytes() == value.tobytes()


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
    "no such coding": lambda a: {**a, "program": STEP.pack(5, 0, -1, 0, 0)},
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


PLACES = {
    "as it is": ((300, 257), (300, 257), False, 1.0, 0.0, "stretch"),
    "mirrored": ((300, 257), (300, 257), True, 1.0, 0.0, "stretch"),
    "one long row": ((1, 40_000), (1, 40_000), True, 1.0, 0.0, "stretch"),
    "smaller, so that rows are left out": ((700, 411), (90, 60), False, 1.0, 0.0, "stretch"),
    "larger": ((90, 60), (700, 411), True, 1.0, 0.0, "cover"),
    "cropped": ((900, 411), (64, 48), False, 0.3, 0.0, "cover"),
    "turned": ((511, 333), (200, 150), True, 0.8, 0.3, "cover"),
    "with nothing around": ((300, 257), (200, 900), False, 1.0, 0.2, "contain"),
}


def inflated_and_joined(
    stored: np.ndarray, packed: tuple[memoryview, ...], placement: Placement, program: bytes
) -> tuple[float | None, bytes]:
    """All that comes of members in one pass, their memory full of something else before. stored: (6, h, w)"""
    alpha, sharp = np.full_like(stored[:1], 7), np.full_like(stored[1:], 7)
    size = placement.target
    filled = (
        *(np.ones(size, bool), planes.NOTHING, np.ones(size, bool), np.ones(size, np.float16)),
        *(np.ones(size, bool), np.ones((3, *size), np.float16)),
    )
    took_s = planes.join(sharp, placement, program, filled, packed, (alpha, sharp[:2], sharp[2:]))
    return took_s, b"".join(one.tobytes() for one in (*filled, alpha))


@pytest.mark.parametrize("where", PLACES)
def test_inflating_by_the_way_gives_what_inflating_first_does(where: str) -> None:
    source, target, flip, kept, angle, fit = PLACES[where]
    stored = np.concatenate([np.random.default_rng(1).integers(0, 9, (1, *source), np.uint8), random_planes(*source)])
    packed = tuple(memoryview(codecs.encode_planes(part, "lz4")) for part in np.split(stored, [1, 3]))
    placement, program = placed(source, target, flip, kept, angle, fit), layout(FIELDS_V1[1:]).program({})
    took_s, found = inflated_and_joined(stored, packed, placement, program)
    size = placement.target
    filled = (
        *(np.empty(size, bool), planes.NOTHING, np.empty(size, bool), np.empty(size, np.float16)),
        *(np.empty(size, bool), np.empty((3, *size), np.float16)),
    )
    assert planes.join(np.ascontiguousarray(stored[1:]), placement, program, filled) == 0
    assert found == b"".join(one.tobytes() for one in (*filled, stored[:1]))
    assert took_s is not None and took_s > 0
    for member in range(3):
        for length in (0, 3, len(packed[member]) - 1, len(packed[member]) + 1):
            other = memoryview((bytes(packed[member]) + b"x")[:length])
            broken = (*packed[:member], other, *packed[member + 1 :])
            assert inflated_and_joined(stored, broken, placement, program)[0] is None


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_changed_bytes_are_seen_or_give_what_the_package_gives(data: st.DataObject) -> None:
    """Of a whole sample: what a crop leaves out need not be looked at."""
    stored = np.random.default_rng(0).integers(0, 3, (6, 40, 900), np.uint8)
    packed = [codecs.encode_planes(part, "lz4") for part in np.split(stored, [1, 3])]
    member, places = data.draw(st.integers(0, 2)), st.integers(0, 10**6)
    changed = bytearray(packed[member])
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(places) % len(changed)] ^= data.draw(st.integers(1, 255))
    packed[member] = bytes(changed)
    placement, program = placed((40, 900), (40, 900), False), layout(FIELDS_V1[1:]).program({})
    took_s, found = inflated_and_joined(stored, tuple(map(memoryview, packed)), placement, program)
    try:
        parts = [codecs.decode_planes(one, n, 40, 900, "lz4") for one, n in zip(packed, (1, 2, 3), strict=True)]
    except DavidError:
        assert took_s is None
    else:
        whole = tuple(memoryview(codecs.encode_planes(one, "lz4")) for one in parts)
        assert found == inflated_and_joined(stored, whole, placement, program)[1]


def test_members_need_a_function_and_a_buffer_each() -> None:
    stored, placement = np.zeros((2, 6, 5), np.uint8), placed((6, 5), (6, 5), False)
    packed = (memoryview(codecs.encode_planes(stored, "lz4")),)
    given = (stored, 2, 6, 5, placement.where(), 1.0, 0.0, False, STEP.pack(1, 0, -1, 0, 0))
    given = (*given, (np.zeros((6, 5), bool), np.zeros((6, 5), np.float16)), 6, 5)
    assert _planes.join(*given, members.LZ4, packed, (stored,)) is not None
    for rest in ((0, packed, (stored,)), (members.LZ4, packed), (members.LZ4, packed, ())):
        with pytest.raises(ValueError):
            _planes.join(*given, *rest)
    kept = stored.copy()
    kept.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        _planes.join(*given, members.LZ4, packed, (kept,))
