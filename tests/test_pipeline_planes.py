"""Byte planes to depth, normals and what of them is valid: exact, the same on every device, background kept out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from david.pack.shards import codecs
from david.pipeline.engines import planes, planes_on_device
from david.pipeline.sampling import draws
from david.pipeline.sampling.geometry import Placement, place


def random_planes(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(5, H, W): depth with every kind of float16 but infinities, normals with every kind of code; half is invalid, and
    of the rest a fifth has no normal."""
    rng = np.random.default_rng(seed)
    relative = rng.integers(-0x8000, 0x8000, (height, width), np.int16).view(np.float16)
    relative = np.where(np.isinf(relative) | (rng.random((height, width)) < 0.4), np.float16(np.nan), relative)
    u, v = rng.integers(0, 4095, (2, height, width)).astype(np.uint16)
    u[:, : width // 8], v[:, -width // 8 :] = 2047, 2047
    u[0], v[-1] = 0, 4094
    none = rng.random((height, width)) < 0.2
    u[none], v[none] = 4095, 4095
    normals = np.stack([(u >> 8 << 4) | (v >> 8), u & 255, v & 255]).astype(np.uint8)
    return np.concatenate([codecs.split_depth(relative), normals])


def placed(h: int, w: int, height: int, width: int, flip: bool, kept: float = 1.0, angle: float = 0.0) -> Placement:
    one = draws.none(1)._replace(flip=np.array([flip]), kept=np.array([kept]), angle=np.array([angle]))
    return place(one, 0, h, w, height, width)


def joined(stored: np.ndarray, placement: Placement, size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """depth, valid, normals, normals_valid"""
    filled = np.empty(size, np.float16), np.empty(size, bool), np.empty((3, *size), np.float16), np.empty(size, bool)
    planes.join(stored, placement, *filled)
    return filled


@pytest.mark.parametrize("size", [(300, 257), (1, 40_000), (64, 1)])
@pytest.mark.parametrize("flip", [False, True])
def test_joining_gives_what_the_codecs_give_to_the_bit(size: tuple[int, int], flip: bool) -> None:
    stored = random_planes(*size)
    depth, valid, normals, normals_valid = joined(stored, placed(*size, *size, flip), size)
    stored = stored[:, :, ::-1] if flip else stored
    relative = codecs.join_depth(stored[:2])
    assert np.array_equal(valid, ~np.isnan(relative))
    assert depth[valid].tobytes() == relative[valid].tobytes()
    expected = codecs.join_normals(stored[2:]).astype(np.float16) * np.array([-1 if flip else 1, 1, 1], np.float16)
    assert np.array_equal(normals_valid, valid & codecs.known_normals(stored[2:]))
    assert 0 < np.count_nonzero(normals_valid) < np.count_nonzero(valid)
    assert np.array_equal(np.moveaxis(normals, 0, -1)[normals_valid], expected[normals_valid])
    assert not depth[~valid].any()
    assert not normals[:, ~normals_valid].any()


@pytest.mark.parametrize(("size", "kept", "angle"), [((600, 900), 1, 0), ((200, 300), 0.7, 0), ((511, 333), 0.8, 0.3)])
def test_a_batch_on_a_device_is_placed_and_joined_to_the_same_bits(
    size: tuple[int, int], kept: float, angle: float
) -> None:
    stored = np.stack([random_planes(600, 900, seed) for seed in range(3)])
    placements = [placed(600, 900, *size, flip, kept, angle) for flip in (True, False, True)]
    where = torch.from_numpy(np.stack([one.where() for one in placements]))
    turns = torch.tensor([(one.cosine, one.sine, -1 if one.flip else 1) for one in placements])
    together = planes_on_device.join(planes_on_device.warp(torch.from_numpy(stored), where, *size), turns)
    for slot, placement in enumerate(placements):
        for one, expected in zip(together, joined(stored[slot], placement, size), strict=True):
            assert one[slot].numpy().tobytes() == expected.tobytes()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.booleans())
@settings(deadline=None, max_examples=100)
def test_placing_takes_the_pixel_under_each_centre(h: int, w: int, height: int, width: int, flip: bool) -> None:
    stored = np.random.default_rng(0).integers(0, 124, (5, h, w), np.uint8)  # depths that are all valid
    placement = placed(h, w, height, width, flip)
    depth, *_ = joined(stored, placement, (height, width))
    where = torch.from_numpy(placement.where())[None]
    assert planes_on_device.warp(torch.from_numpy(stored)[None], where, height, width).shape == (1, 5, height, width)
    relative = codecs.join_depth(stored[:2])
    for row in range(height):
        for column in range(width):
            seen = width - 1 - column if flip else column
            down, across = divmod((2 * row + 1) * h, 2 * height), divmod((2 * seen + 1) * w, 2 * width)
            if down[1] and across[1]:  # else the centre lies on an edge, which belongs to both
                assert depth[row, column] == relative[down[0], across[0]]


@given(st.floats(-0.7, 0.7), st.floats(0.2, 1), st.floats(-1, 1), st.floats(-1, 1), st.integers(5, 900), st.booleans())
@settings(deadline=None, max_examples=100)
def test_turned_crops_stay_within_their_sample(
    angle: float, kept: float, right: float, below: float, h: int, flip: bool
) -> None:
    drawn = {"angle": angle, "kept": kept, "right": right, "below": below, "flip": flip}
    one = draws.none(1)._replace(**{name: np.array([value]) for name, value in drawn.items()})
    matrix = place(one, 0, h, 384, 96, 128).matrix
    corners = matrix @ np.array([[0, 128, 0, 128], [0, 0, 96, 96], [1, 1, 1, 1]])
    assert (corners >= -1e-9).all()
    assert (corners[0] <= 384 + 1e-9).all() and (corners[1] <= h + 1e-9).all()


@pytest.mark.parametrize("size", [(256, 256), (100, 77), (5, 5)])
def test_the_bytes_of_two_members_split_into_their_planes(size: tuple[int, int]) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (2, 5, *size), np.uint8)
    data = torch.from_numpy(stored.reshape(2, -1))
    assert planes_on_device.split(data, *size, padded=False).tolist() == stored.tolist()
    padded = [
        np.concatenate([np.pad(part.ravel(), (0, -part.size % 65_536)) for part in (one[:2], one[2:])])
        for one in stored
    ]
    assert planes_on_device.split(torch.from_numpy(np.stack(padded)), *size, padded=True).tolist() == stored.tolist()
